// What is written behind flags, read. All throw Error{kInvalidArgument} that names the flag and says what would be
// right.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "hub/loaded_model.h"

namespace carronade {

// "8000"; 0 stays 0.
uint16_t parse_port(const std::string& text, const std::string& flag);

// Bytes: "4GiB", "500 MB", "1.5G", "1000000". Without an i and a B a unit is binary, as systemd and Docker have it.
uint64_t parse_size(const std::string& text, const std::string& flag);

// A whole number as vLLM reads it: "4096", "25.6k" (25,600), "32K" (32,768). At most 2^31 - 1.
int parse_count(const std::string& text, const std::string& flag);

// --max-model-len: a count, or kLongestThatFits for "auto" and -1.
int parse_model_length(const std::string& text);

// --speculative-config, vLLM's JSON: {"method": "ngram", "num_speculative_tokens": 5}. The tokens to guess; 0: none.
int speculative_tokens(const std::string& config);

// --keep-alive: "5m", "0", "-1" for ever.
std::chrono::milliseconds parse_keep_alive(const std::string& text);

// --lora-modules: NAME=PATH, or vLLM's JSON: {"name": …, "path": …, "base_model_name": …}.
std::vector<AdapterSource> adapter_sources(const std::vector<std::string>& modules);

}  // namespace carronade
