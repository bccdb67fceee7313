# CUDA kernels by nvcc, for A100 (sm_80), H100 (sm_90a), Blackwell (sm_100), and as PTX for what comes
# after. sm_90a code runs on Hopper only, so it never goes into PTX. CMAKE_CUDA_ARCHITECTURES limits it.
set(all_architectures FALSE)
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(all_architectures TRUE)
  set(CMAKE_CUDA_ARCHITECTURES 80-real) # while CMake tries the compiler
endif()
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
set(CMAKE_CUDA_STANDARD 17)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_EXTENSIONS OFF)
set(CMAKE_CUDA_VISIBILITY_PRESET hidden)
set(CMAKE_CUDA_FLAGS_RELEASE "-O2 -DNDEBUG")
enable_language(CUDA)
if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.4)
  message(FATAL_ERROR "Expected nvcc 12.4 or newer but found ${CMAKE_CUDA_COMPILER_VERSION}")
endif()
if(all_architectures AND CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.8) # sm_100 came with CUDA 12.8
  set(CMAKE_CUDA_ARCHITECTURES 80-real 90a-real 90-virtual)
elseif(all_architectures)
  set(CMAKE_CUDA_ARCHITECTURES 80-real 90a-real 100-real 100-virtual)
endif()

# For scripts/check_cuda.sh, which compiles each kernel file again.
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

set(CUDA_SOURCES ${CUDA_HOST_SOURCES} ${CUDA_KERNELS})
set(CUDA_LIBRARIES ${CMAKE_DL_LIBS})
# For these files alone: the others compile as they do without CUDA, so that a compiler cache knows them again.
set(cuda_headers ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
list(TRANSFORM cuda_headers PREPEND -isystem)
set_source_files_properties(${CUDA_HOST_SOURCES} PROPERTIES COMPILE_OPTIONS "${cuda_headers}")

# nvcc hands the host's options on; -Wpedantic is not among them, as what nvcc generates does not pass.
string(REPLACE ";" "," host_options "${HOST_OPTIONS}")
set(cuda_options --expt-relaxed-constexpr -Xcompiler=${host_options})
if(CAPI_WARNINGS_AS_ERRORS)
  list(APPEND cuda_options -Werror=all-warnings)
endif()
# A smaller package. Drivers for CUDA 12 older than 550 cannot read it, those for 13 all can.
if(CMAKE_CUDA_COMPILER_VERSION VERSION_GREATER_EQUAL 13.0)
  list(APPEND cuda_options --compress-mode=size)
endif()
set_source_files_properties(${CUDA_KERNELS} PROPERTIES COMPILE_OPTIONS "${cuda_options}")
