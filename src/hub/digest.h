// SHA-256 and Git's blob SHA-1, over OpenSSL.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

struct evp_md_ctx_st;

namespace carronade {

// One running digest. One thread at a time.
class Digest {
 public:
  static Digest sha256();
  // What Git names a blob by: SHA-1 over "blob <bytes>\0" and the content. Hubs give it for small files.
  static Digest git_blob(uint64_t bytes);

  void update(std::span<const std::byte> bytes);
  std::string hex() const;  // of all so far; may be called again after more updates

 private:
  explicit Digest(const char* algorithm);
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

std::string sha256_of(std::string_view text);

}  // namespace carronade
