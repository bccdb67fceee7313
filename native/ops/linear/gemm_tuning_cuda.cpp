#include "ops/linear/gemm_tuning_cuda.h"

#include <unistd.h>

#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "core/cuda/check.h"

namespace capi {

namespace {

constexpr char kFirstLine[] = "capi-vit cublaslt algorithms 1";

std::string variable(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// "NVIDIA H200" is nvidia-h200.
std::string file_name_part(const char* text) {
  std::string part;
  for (; *text != '\0'; ++text) {
    const auto c = static_cast<unsigned char>(*text);
    part += std::isalnum(c) != 0 ? static_cast<char>(std::tolower(c)) : '-';
  }
  return part;
}

std::string file_path(const CublasLt& library) {
  int device = 0;
  cudaDeviceProp properties;
  CAPI_CUDA_CHECK(cudaGetDevice(&device));
  CAPI_CUDA_CHECK(cudaGetDeviceProperties(&properties, device));
  std::string folder = variable("XDG_CACHE_HOME");
  if (folder.empty()) folder = variable("HOME") + "/.cache";
  return folder + "/capi-vit/cublaslt-" + cublaslt_version_text(library.version) + "-" +
         file_name_part(properties.name) + ".txt";
}

std::string hexadecimal(const CublasLtAlgorithm& algorithm) {
  std::string text;
  char word[17];
  for (const uint64_t part : algorithm.data) {
    std::snprintf(word, sizeof word, "%016llx", static_cast<unsigned long long>(part));
    text += word;
  }
  return text;
}

std::optional<CublasLtAlgorithm> algorithm_from(const std::string& text) {
  CublasLtAlgorithm algorithm;
  if (text.size() != 16 * std::size(algorithm.data)) return std::nullopt;
  for (const char c : text) {
    if (std::isxdigit(static_cast<unsigned char>(c)) == 0) return std::nullopt;
  }
  for (size_t i = 0; i < std::size(algorithm.data); ++i) {
    algorithm.data[i] = std::stoull(text.substr(16 * i, 16), nullptr, 16);
  }
  return algorithm;
}

}  // namespace

bool tuning_wanted() { return variable("CAPI_CUBLASLT_TUNE") == "1"; }

TunedAlgorithms::TunedAlgorithms(const CublasLt& library) : path_(file_path(library)) {
  if (!std::filesystem::exists(path_)) return;
  if (std::optional<Table> table = read(path_)) {
    table_ = std::move(*table);
  } else {
    std::fprintf(stderr, "[gemm] Expected algorithms in %s; it is damaged and will be replaced\n",
                 path_.c_str());
  }
}

std::optional<CublasLtAlgorithm> TunedAlgorithms::find(const std::string& product) const {
  const auto found = table_.find(product);
  return found == table_.end() ? std::nullopt : std::optional(found->second);
}

void TunedAlgorithms::add(const std::string& product, const CublasLtAlgorithm& algorithm) {
  if (std::optional<Table> others = read(path_)) table_.merge(*others);
  table_[product] = algorithm;
  write();
}

std::optional<TunedAlgorithms::Table> TunedAlgorithms::read(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line) || line != kFirstLine) return std::nullopt;
  Table table;
  while (std::getline(file, line)) {
    const size_t tab = line.find('\t');
    if (tab == std::string::npos) return std::nullopt;
    const std::optional<CublasLtAlgorithm> algorithm = algorithm_from(line.substr(tab + 1));
    if (!algorithm) return std::nullopt;
    table[line.substr(0, tab)] = *algorithm;
  }
  return table;
}

// Written beside and renamed, so that no reader sees half of it.
void TunedAlgorithms::write() const {
  const std::string unfinished = path_ + "." + std::to_string(getpid());
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path_).parent_path(), error);
  {
    std::ofstream file(unfinished);
    file << kFirstLine << '\n';
    for (const auto& [product, algorithm] : table_) {
      file << product << '\t' << hexadecimal(algorithm) << '\n';
    }
    file.close();
    if (!file) error = std::make_error_code(std::errc::io_error);
  }
  if (!error) std::filesystem::rename(unfinished, path_, error);
  if (!error) return;
  std::filesystem::remove(unfinished, error);
  std::fprintf(stderr, "[gemm] Expected to write %s but could not; tuning is not kept\n",
               path_.c_str());
}

}  // namespace capi
