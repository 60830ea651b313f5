# CUDA kernels: plain CUDA sources without LibTorch headers (raw pointers and a stream), so that they compile in seconds.
find_program(RQAT_NVCC nvcc HINTS /usr/local/cuda/bin $ENV{CUDA_HOME}/bin)
set(RQAT_HAS_CUDA FALSE)
if(RQAT_CUDA STREQUAL "ON" OR (RQAT_CUDA STREQUAL "AUTO" AND RQAT_NVCC))
  set(RQAT_HAS_CUDA TRUE)
endif()
