# CUDA kernels by nvcc, for A100 (sm_80), H100 (sm_90a), Blackwell (sm_100), and as PTX for what comes
# after. sm_90a code runs on Hopper only, so it never goes into PTX.
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80-real 90a-real 100-real 100-virtual)
endif()
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
set(CMAKE_CUDA_STANDARD 17)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
enable_language(CUDA)
if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.4)
  message(FATAL_ERROR "Expected nvcc 12.4 or newer but found ${CMAKE_CUDA_COMPILER_VERSION}")
endif()
# sm_100 came with CUDA 12.8.
if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.8)
  set(CMAKE_CUDA_ARCHITECTURES 80-real 90a-real 90-virtual)
endif()
set(CUDA_SOURCES ${CUDA_HOST_SOURCES} ${CUDA_KERNELS})
set(CUDA_INCLUDES ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
set_source_files_properties(${CUDA_KERNELS} PROPERTIES
  COMPILE_OPTIONS "--expt-relaxed-constexpr;--threads=0;--compress-mode=size")
