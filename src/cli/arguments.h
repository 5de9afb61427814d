// Command lines as they are written in the wild, brought into one form.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace carronade {

// "--max_model_len" → "--max-model-len"; "--model X" as one argument (compose files write them so) → two; "-tp" →
// "--tensor-parallel-size" and its like. Values and all behind a lone "--" stay as they are.
std::vector<std::string> normalize_arguments(const std::vector<std::string>& arguments);

// The candidate that was probably meant, or nothing.
std::string nearest_word(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace carronade
