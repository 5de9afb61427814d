#include "hub/digest.h"

#include <openssl/evp.h>

#include <fmt/format.h>

#include "base/error.h"

namespace carronade {

void Digest::Free::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }

Digest::Digest(const char* algorithm) : context_(EVP_MD_CTX_new()) {
  const EVP_MD* method = EVP_get_digestbyname(algorithm);
  if (!context_ || !method || EVP_DigestInit_ex(context_.get(), method, nullptr) != 1) {
    throw_error(ErrorCode::kInternal, "the system's OpenSSL offers no {}", algorithm);
  }
}

Digest Digest::sha256() { return Digest("SHA256"); }

Digest Digest::git_blob(uint64_t bytes) {
  Digest digest("SHA1");
  std::string header = fmt::format("blob {}", bytes);
  header.push_back('\0');
  digest.update(std::as_bytes(std::span(header)));
  return digest;
}

void Digest::update(std::span<const std::byte> bytes) {
  if (EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) != 1)
    throw Error(ErrorCode::kInternal, "hashing failed");
}

std::string Digest::hex() const {
  const std::unique_ptr<evp_md_ctx_st, Free> copy(EVP_MD_CTX_new());
  unsigned char value[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  if (!copy || EVP_MD_CTX_copy_ex(copy.get(), context_.get()) != 1 ||
      EVP_DigestFinal_ex(copy.get(), value, &size) != 1) {
    throw Error(ErrorCode::kInternal, "hashing failed");
  }
  std::string text;
  for (unsigned int i = 0; i < size; ++i) text += fmt::format("{:02x}", value[i]);
  return text;
}

std::string sha256_of(std::string_view text) {
  Digest digest = Digest::sha256();
  digest.update(std::as_bytes(std::span(text)));
  return digest.hex();
}

}  // namespace carronade
