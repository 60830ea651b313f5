// Messages of errors, and what is in them.
#pragma once

#include <gtest/gtest.h>

#include <exception>
#include <string>

namespace rqat::test {

/// What the Error thrown by `action` says; fails the test when it throws nothing, or something else.
template <class Error, class Action>
std::string message_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  } catch (const std::exception& error) {
    ADD_FAILURE() << "another error: " << error.what();
    return "";
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

inline void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "'" << part << "' is not in:\n" << text;
}

}  // namespace rqat::test
