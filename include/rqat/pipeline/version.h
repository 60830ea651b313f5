// Version of the program and of its stage folders.
#pragma once

namespace rqat::pipeline {

inline constexpr const char* kVersion = "0.1.0";
/// Goes into every fingerprint: raised when stage folders of older versions must be made again.
inline constexpr int kStageFormat = 1;

}  // namespace rqat::pipeline
