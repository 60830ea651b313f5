// Character properties as the `tokenizers` library has them; its parts follow different versions of Unicode.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rqat::text {

struct CharacterRange {
  uint32_t first, last;
};
struct CategoryRange {
  const char* category;
  uint32_t first, last;
};

// Sorted.
extern const CharacterRange kNumeric[], kWord[], kPunctuation[], kMark[], kNonspacingMark[], kOther[];
extern const size_t kNumericCount, kWordCount, kPunctuationCount, kMarkCount, kNonspacingMarkCount, kOtherCount;
/// Character and its lower case.
extern const CharacterRange kLower[];
extern const size_t kLowerCount;
/// Categories of characters that Unicode 14, PCRE2's, does not know.
extern const CategoryRange kYoungCategories[];
extern const size_t kYoungCategoriesCount;

}  // namespace rqat::text
