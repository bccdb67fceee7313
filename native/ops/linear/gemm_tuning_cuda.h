// The algorithms that were the fastest when timed, kept in one file for each GPU model and version
// of cuBLASLt: $XDG_CACHE_HOME/capi-vit/cublaslt-<version>-<GPU>.txt, or below ~/.cache. A line a
// product: its description, a tab, and the bytes of the algorithm in hexadecimal.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "core/cuda/cublaslt.h"

namespace capi {

// Whether products are timed at all: CAPI_CUBLASLT_TUNE=1.
bool tuning_wanted();

class TunedAlgorithms {
 public:
  // Reads the file. One that is damaged counts as empty, and stderr says so.
  explicit TunedAlgorithms(const CublasLt& library);

  std::optional<CublasLtAlgorithm> find(const std::string& product) const;
  // Replaces the file by one with this algorithm added, and with what other processes have added
  // meanwhile. Where it cannot be written, stderr says so and the run goes on.
  void add(const std::string& product, const CublasLtAlgorithm& algorithm);

 private:
  using Table = std::map<std::string, CublasLtAlgorithm>;
  static std::optional<Table> read(const std::string& path);
  void write() const;

  std::string path_;
  Table table_;
};

}  // namespace capi
