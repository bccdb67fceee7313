# CUDA kernels as plain C++ on the interpreter: its headers stand in for NVIDIA's, and the compiler's
# instrumentation for its thread sanitizer reports every load and store (instrumentation.cpp).
set(CUDA_SOURCES
  ${CUDA_HOST_SOURCES}
  ${CUDA_KERNELS}
  test/interpreter/instrumentation.cpp
  test/interpreter/interpreter.cpp
  test/interpreter/memory.cpp
  test/interpreter/runtime.cpp
  test/interpreter/simulated_device.cpp
  test/interpreter/traffic.cpp)
set(CUDA_INCLUDES test/interpreter/include)
set_source_files_properties(${CUDA_KERNELS} PROPERTIES
  LANGUAGE CXX
  COMPILE_OPTIONS "-x;c++;-fsanitize=thread;-O1;-g1;-Wno-unknown-pragmas;-Wno-tsan")
set_source_files_properties(native/core/cuda/device_cuda.cpp PROPERTIES
  COMPILE_DEFINITIONS CAPI_CUDA_INTERPRETED)

# The interpreter's own test: kernels with a mistake each.
add_executable(interpreter_self_test
  test/interpreter/self_test.cu
  test/interpreter/instrumentation.cpp
  test/interpreter/interpreter.cpp
  test/interpreter/memory.cpp
  test/interpreter/runtime.cpp
  test/interpreter/simulated_device.cpp
  test/interpreter/traffic.cpp)
set_source_files_properties(test/interpreter/self_test.cu PROPERTIES
  LANGUAGE CXX
  COMPILE_OPTIONS "-x;c++;-fsanitize=thread;-O1;-g1;-Wno-unknown-pragmas;-Wno-tsan")
set_target_properties(interpreter_self_test PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_LIBRARY_OUTPUT_DIRECTORY})
target_include_directories(interpreter_self_test PRIVATE ${CUDA_INCLUDES} native)
target_link_libraries(interpreter_self_test PRIVATE ${CMAKE_DL_LIBS})

# Opened at run time, as cuBLASLt is: CAPI_CUBLASLT names it (scripts/test_interpreter.sh).
add_library(cublaslt_stand_in MODULE test/interpreter/cublaslt_stand_in.cpp)
target_include_directories(cublaslt_stand_in PRIVATE ${CUDA_INCLUDES} native)
target_compile_options(cublaslt_stand_in PRIVATE -O3)
set_target_properties(cublaslt_stand_in PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_LIBRARY_OUTPUT_DIRECTORY})
set(CUDA_LIBRARIES ${CMAKE_DL_LIBS})

# For the tests that plant a mistake in a kernel and link it in place of the right one.
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
file(GENERATE OUTPUT ${CMAKE_BINARY_DIR}/objects.txt CONTENT
  "$<JOIN:$<TARGET_OBJECTS:capi>;$<TARGET_OBJECTS:kernels_avx2>;$<TARGET_OBJECTS:kernels_avx512>;$<TARGET_OBJECTS:kernels_avx512_bf16>,\n>\n")
