#include "core/cuda/cublaslt.h"

#include <dlfcn.h>
#include <glob.h>

#include <algorithm>
#include <cstdlib>
#include <type_traits>
#include <vector>

#include "core/error.h"

namespace capi {

namespace {

// What the declarations of cublaslt.h hold for; another major version may change them.
constexpr size_t kLeastMajor = 12, kNewestMajor = 13;

struct Opened {
  CublasLt library = {};
  std::string problem;
};

// CUDA 13 counts versions as 130101, CUDA 12 as 120804: the major one is the same division.
size_t major_of(size_t version) { return version / 10000; }

std::string variable(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// Preferred first: the one of the runtime that the kernels were built with, whose driver is there.
std::vector<std::string> sonames() {
  int runtime = 0;
  cudaRuntimeGetVersion(&runtime);
  const std::string first = runtime / 1000 == 12 ? "12" : "13";
  return {"libcublasLt.so." + first, "libcublasLt.so." + std::string(first == "12" ? "13" : "12")};
}

// Where CUDA's installers, conda and pip put it; patterns for glob.
std::vector<std::string> folders() {
  std::vector<std::string> patterns;
  for (const char* name : {"CUDA_HOME", "CUDA_PATH"}) {
    const std::string root = variable(name);
    if (!root.empty()) patterns.push_back(root + "/{lib64,lib,targets/x86_64-linux/lib}");
  }
  patterns.push_back("/usr/local/cuda/lib64");
  patterns.push_back("/usr/local/cuda-*/lib64");
  const std::string home = variable("HOME");
  for (const std::string& root :
       {variable("VIRTUAL_ENV"), variable("CONDA_PREFIX"), home.empty() ? home : home + "/.local",
        std::string("/usr/local"), std::string("/usr"), std::string("/opt/conda")}) {
    if (!root.empty()) {
      patterns.push_back(root + "/lib/python3*/{site,dist}-packages/nvidia/*/lib");
    }
  }
  if (!variable("CONDA_PREFIX").empty()) patterns.push_back(variable("CONDA_PREFIX") + "/lib");
  return patterns;
}

// Newest last part first: cuda-13.0 before cuda-12.4.
std::vector<std::string> files_like(const std::string& pattern) {
  std::vector<std::string> files;
  glob_t found = {};
  if (glob(pattern.c_str(), GLOB_BRACE, nullptr, &found) == 0) {
    files.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  }
  globfree(&found);
  std::reverse(files.begin(), files.end());
  return files;
}

// The file's own name where the loader found it by its soname.
std::string path_of(const void* function, const std::string& asked) {
  Dl_info info;
  return dladdr(function, &info) != 0 && info.dli_fname != nullptr ? info.dli_fname : asked;
}

// Fills the table; the name of the first function that is missing, or null.
const char* find_functions(void* file, CublasLt* library) {
  const char* missing = nullptr;
  const auto find = [&](const char* name, auto* function) {
    void* const symbol = dlsym(file, name);
    if (symbol == nullptr && missing == nullptr) missing = name;
    *function = reinterpret_cast<std::remove_pointer_t<decltype(function)>>(symbol);
  };
  find("cublasLtGetVersion", &library->get_version);
  find("cublasLtGetStatusName", &library->status_name);
  find("cublasLtCreate", &library->create);
  find("cublasLtMatrixLayoutCreate", &library->layout_create);
  find("cublasLtMatrixLayoutDestroy", &library->layout_destroy);
  find("cublasLtMatmulDescCreate", &library->matmul_create);
  find("cublasLtMatmulDescSetAttribute", &library->matmul_set);
  find("cublasLtMatmulDescDestroy", &library->matmul_destroy);
  find("cublasLtMatmulPreferenceCreate", &library->preference_create);
  find("cublasLtMatmulPreferenceSetAttribute", &library->preference_set);
  find("cublasLtMatmulPreferenceDestroy", &library->preference_destroy);
  find("cublasLtMatmulAlgoGetHeuristic", &library->heuristic);
  find("cublasLtMatmulAlgoCheck", &library->check);
  find("cublasLtMatmul", &library->matmul);
  return missing;
}

// Empty, or why this file cannot be used. A library that was opened stays so.
std::string open_file(const std::string& file, CublasLt* library) {
  void* const opened = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (opened == nullptr) {
    const char* const reason = dlerror();
    return reason == nullptr ? file : reason;
  }
  if (const char* missing = find_functions(opened, library)) return file + " lacks " + missing;
  library->version = library->get_version();
  const size_t major = major_of(library->version);
  if (major < kLeastMajor || major > kNewestMajor) {
    return file + " is version " + cublaslt_version_text(library->version);
  }
  library->path = path_of(reinterpret_cast<const void*>(library->matmul), file);
  return "";
}

Opened open_library() {
  Opened result;
  std::string tried;
  const auto opens = [&](const std::string& file) {
    const std::string problem = open_file(file, &result.library);
    if (problem.empty()) return true;
    tried += (tried.empty() ? "" : "; ") + problem;
    return false;
  };
  const std::string named = variable("CAPI_CUBLASLT");
  if (!named.empty()) {
    if (opens(named)) return result;
    result.problem = "CAPI_CUBLASLT names no cuBLASLt 12 or 13: " + tried;
    return result;
  }
  const std::vector<std::string> patterns = folders();
  for (const std::string& soname : sonames()) {
    if (opens(soname)) return result;
    for (const std::string& pattern : patterns) {
      for (const std::string& file : files_like(pattern + "/" + soname)) {
        if (opens(file)) return result;
      }
    }
  }
  for (const std::string& pattern : patterns) {
    if (files_like(pattern + "/libcublasLt.so.1[23]").empty()) tried += "; nothing in " + pattern;
  }
  result.problem =
      "cuBLASLt 12 or 13 was not found; install CUDA's cuBLAS (`pip install nvidia-cublas` is "
      "enough) or set CAPI_CUBLASLT to its libcublasLt.so. Tried: " +
      tried;
  return result;
}

const Opened& opened() {
  static const Opened* const once = new Opened(open_library());
  return *once;
}

}  // namespace

const CublasLt& cublaslt() {
  if (!opened().problem.empty()) {
    throw Error(ErrorCode::kBackendUnavailable, "[gemm] Expected cuBLASLt but " + opened().problem);
  }
  return opened().library;
}

const std::string& cublaslt_problem() { return opened().problem; }

std::string cublaslt_version_text(size_t version) {
  return std::to_string(major_of(version)) + "." + std::to_string(version % 10000 / 100) + "." +
         std::to_string(version % 100);
}

void cublaslt_check(const CublasLt& library, int status, const char* function) {
  if (status == kCublasSuccess) return;
  throw Error(ErrorCode::kCuda,
              std::string("[gemm] ") + function + " failed: " + library.status_name(status));
}

}  // namespace capi
