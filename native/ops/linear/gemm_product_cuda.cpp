#include "ops/linear/gemm_product_cuda.h"

#include <algorithm>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/cuda/check.h"
#include "core/cuda/cublaslt.h"
#include "core/device_queue.h"
#include "core/error.h"
#include "core/storage.h"
#include "ops/linear/gemm_tuning_cuda.h"

namespace capi {

namespace {

// Algorithms that are timed, and how often each runs.
constexpr int kCandidates = 8;
constexpr int kTimedRuns = 4;
// Pointers aligned to more than this are not told apart; cuBLASLt's own default.
constexpr uintptr_t kMostAlignment = 256;

int type_of(const MatrixView& view) { return view.dtype == Dtype::kF32 ? kCudaF32 : kCudaBF16; }

uint32_t alignment_of(const void* data) {
  const auto address = reinterpret_cast<uintptr_t>(data);
  return static_cast<uint32_t>(std::min(address & (~address + 1), kMostAlignment));
}

// cuBLASLt's descriptions of matrices and products, destroyed with this.
class Descriptor {
 public:
  using Destroy = int (*)(void*);
  Descriptor(void* made, Destroy destroy) : made_(made, destroy) {}
  void* get() const { return made_.get(); }

 private:
  std::unique_ptr<void, Destroy> made_;
};

// The transposed product, d' = op(b)' op(a)', in column-major matrices: what is row-major and
// untransposed here is column-major and untransposed there.
class Matmul {
 public:
  Matmul(const CublasLt& library, void* handle, const Product& product)
      : library_(library),
        handle_(handle),
        product_(product),
        c_(product.c ? product.c : product.d),
        matmul_(describe_matmul()),
        b_layout_(describe(product.b)),
        a_layout_(describe(product.a)),
        c_layout_(describe(c_)),
        d_layout_(describe(product.d)) {}

  // The best algorithms, best first; at least one.
  std::vector<CublasLtChoice> candidates(int most) const {
    const Descriptor preference = describe_preference();
    std::vector<CublasLtChoice> choices(static_cast<size_t>(most));
    int count = 0;
    const int status = library_.heuristic(handle_, matmul_.get(), b_layout_.get(), a_layout_.get(),
                                          c_layout_.get(), d_layout_.get(), preference.get(), most,
                                          choices.data(), &count);
    if (status != kCublasNotSupported) check(status, "cublasLtMatmulAlgoGetHeuristic");
    choices.resize(static_cast<size_t>(count));
    choices.erase(std::remove_if(choices.begin(), choices.end(),
                                 [](const CublasLtChoice& choice) { return choice.status != 0; }),
                  choices.end());
    if (choices.empty()) {
      throw Error(ErrorCode::kCuda, "[gemm] Expected an algorithm of cuBLASLt " +
                                        cublaslt_version_text(library_.version) + " for " +
                                        description() + " but received none");
    }
    return choices;
  }

  // Whether an algorithm from elsewhere can be used.
  bool accepts(const CublasLtAlgorithm& algorithm) const {
    CublasLtChoice result;
    return library_.check(handle_, matmul_.get(), b_layout_.get(), a_layout_.get(), c_layout_.get(),
                          d_layout_.get(), &algorithm, &result) == kCublasSuccess &&
           result.workspace_bytes <= kProductWorkspaceBytes;
  }

  void run(const CublasLtAlgorithm& algorithm, void* workspace, cudaStream_t stream) const {
    run_into(product_.d.data, algorithm, workspace, stream);
  }

  // The fastest of the candidates. What the product overwrites is as if it had run once.
  CublasLtAlgorithm fastest(const std::vector<CublasLtChoice>& choices, void* workspace,
                            cudaStream_t stream) const {
    const bool in_place = product_.c && product_.c.data == product_.d.data;
    std::unique_ptr<Storage> elsewhere;
    void* target = product_.d.data;
    if (in_place) {
      elsewhere = std::make_unique<Storage>(
          static_cast<size_t>(product_.d.rows * product_.d.stride) * dtype_size(product_.d.dtype),
          Backend::kCuda);
      target = elsewhere->data();
    }
    CublasLtAlgorithm best = choices.front().algorithm;
    float least = 0.0f;
    for (const CublasLtChoice& choice : choices) {
      const float milliseconds = time(target, choice.algorithm, workspace, stream);
      if (&choice == &choices.front() || milliseconds < least) {
        best = choice.algorithm;
        least = milliseconds;
      }
    }
    return best;
  }

  // Everything that the choice of an algorithm depends on.
  std::string description() const {
    std::string text = std::to_string(product_.d.rows) + "x" + std::to_string(product_.d.cols) +
                       "x" + std::to_string(depth());
    const auto add = [&](const char* name, const MatrixView& view, bool transposed) {
      text += std::string(" ") + name + (transposed ? "' " : " ") + dtype_name(view.dtype) + "/" +
              std::to_string(view.stride) + "/" + std::to_string(alignment_of(view.data));
    };
    add("a", product_.a, product_.transpose_a);
    add("b", product_.b, product_.transpose_b);
    if (product_.c) add(product_.c.data == product_.d.data ? "onto" : "c", product_.c, false);
    add("d", product_.d, false);
    if (product_.bias) add("bias", product_.bias, false);
    return text;
  }

 private:
  void check(int status, const char* function) const { cublaslt_check(library_, status, function); }

  int64_t depth() const { return product_.transpose_a ? product_.a.rows : product_.a.cols; }

  template <typename T>
  void set(void* matmul, int attribute, T value) const {
    check(library_.matmul_set(matmul, attribute, &value, sizeof value),
          "cublasLtMatmulDescSetAttribute");
  }

  Descriptor describe_matmul() const {
    void* made = nullptr;
    check(library_.matmul_create(&made, kCublasComputeF32, kCudaF32), "cublasLtMatmulDescCreate");
    Descriptor descriptor(made, library_.matmul_destroy);
    set(made, kCublasLtTransposeA, product_.transpose_b ? kCublasTransposed : kCublasNormal);
    set(made, kCublasLtTransposeB, product_.transpose_a ? kCublasTransposed : kCublasNormal);
    if (product_.bias) {
      set(made, kCublasLtEpilogue, kCublasLtAddBias);
      set<const void*>(made, kCublasLtBiasPointer, product_.bias.data);
    }
    return descriptor;
  }

  Descriptor describe(const MatrixView& view) const {
    void* made = nullptr;
    check(library_.layout_create(&made, type_of(view), static_cast<uint64_t>(view.cols),
                                 static_cast<uint64_t>(view.rows), view.stride),
          "cublasLtMatrixLayoutCreate");
    return {made, library_.layout_destroy};
  }

  Descriptor describe_preference() const {
    void* made = nullptr;
    check(library_.preference_create(&made), "cublasLtMatmulPreferenceCreate");
    Descriptor descriptor(made, library_.preference_destroy);
    const auto set_preference = [&](int attribute, auto value) {
      check(library_.preference_set(made, attribute, &value, sizeof value),
            "cublasLtMatmulPreferenceSetAttribute");
    };
    set_preference(kCublasLtMaxWorkspaceBytes, uint64_t{kProductWorkspaceBytes});
    set_preference(kCublasLtReductionSchemes,
                   kCublasLtSumsInOneSequence | kCublasLtSumsInComputeType);
    const void* const operands[] = {product_.b.data, product_.a.data, c_.data, product_.d.data};
    for (int i = 0; i < 4; ++i) {
      set_preference(kCublasLtLeastAlignmentOfA + i, alignment_of(operands[i]));
    }
    return descriptor;
  }

  void run_into(void* target, const CublasLtAlgorithm& algorithm, void* workspace,
                cudaStream_t stream) const {
    const float beta = product_.c ? 1.0f : 0.0f;
    check(library_.matmul(handle_, matmul_.get(), &product_.alpha, product_.b.data, b_layout_.get(),
                          product_.a.data, a_layout_.get(), &beta,
                          product_.c ? product_.c.data : target, c_layout_.get(), target,
                          d_layout_.get(), &algorithm, workspace, kProductWorkspaceBytes, stream),
          "cublasLtMatmul");
  }

  // The best of several runs, after one that loads the kernel.
  float time(void* target, const CublasLtAlgorithm& algorithm, void* workspace,
             cudaStream_t stream) const {
    cudaEvent_t events[kTimedRuns + 1];
    for (cudaEvent_t& event : events) CAPI_CUDA_CHECK(cudaEventCreateWithFlags(&event, 0));
    run_into(target, algorithm, workspace, stream);
    CAPI_CUDA_CHECK(cudaEventRecord(events[0], stream));
    for (int i = 1; i <= kTimedRuns; ++i) {
      run_into(target, algorithm, workspace, stream);
      CAPI_CUDA_CHECK(cudaEventRecord(events[i], stream));
    }
    CAPI_CUDA_CHECK(cudaEventSynchronize(events[kTimedRuns]));
    float least = 0.0f;
    for (int i = 0; i < kTimedRuns; ++i) {
      float milliseconds = 0.0f;
      CAPI_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, events[i], events[i + 1]));
      if (i == 0 || milliseconds < least) least = milliseconds;
    }
    for (const cudaEvent_t event : events) cudaEventDestroy(event);
    return least;
  }

  const CublasLt& library_;
  void* const handle_;
  const Product& product_;
  const MatrixView c_;
  const Descriptor matmul_, b_layout_, a_layout_, c_layout_, d_layout_;
};

// What was chosen, by a product's description; shared by all streams. Never destroyed: a product
// may still run while the process ends.
class Algorithms {
 public:
  static Algorithms& instance() {
    static Algorithms* const one = new Algorithms();
    return *one;
  }

  const CublasLt& library() const { return library_; }
  void* handle() const { return handle_; }

  CublasLtAlgorithm choose(const Matmul& matmul, void* workspace, DeviceQueue& queue) {
    const std::string product = matmul.description();
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto known = chosen_.find(product);
    if (known != chosen_.end()) return known->second;
    const std::optional<CublasLtAlgorithm> kept = tuned_ ? tuned_->find(product) : std::nullopt;
    CublasLtAlgorithm algorithm;
    if (kept && matmul.accepts(*kept)) {
      algorithm = *kept;
    } else if (!tuned_) {
      algorithm = matmul.candidates(1).front().algorithm;
    } else if (queue.capturing()) {
      // Nothing runs, so nothing can be timed; the next time may be another.
      return matmul.candidates(1).front().algorithm;
    } else {
      algorithm = matmul.fastest(matmul.candidates(kCandidates), workspace, queue.handle());
      tuned_->add(product, algorithm);
    }
    chosen_.emplace(product, algorithm);
    return algorithm;
  }

 private:
  Algorithms() : library_(cublaslt()) {
    cublaslt_check(library_, library_.create(&handle_), "cublasLtCreate");
    if (tuning_wanted()) tuned_ = std::make_unique<TunedAlgorithms>(library_);
  }

  const CublasLt& library_;
  void* handle_ = nullptr;
  std::mutex mutex_;
  std::unordered_map<std::string, CublasLtAlgorithm> chosen_;
  std::unique_ptr<TunedAlgorithms> tuned_;  // null: not wanted
};

}  // namespace

void product_cuda(const Product& product, void* workspace, DeviceQueue& queue) {
  Algorithms& algorithms = Algorithms::instance();
  const Matmul matmul(algorithms.library(), algorithms.handle(), product);
  matmul.run(algorithms.choose(matmul, workspace, queue), workspace, queue.handle());
}

}  // namespace capi
