// TLS for listeners, over OpenSSL.
#pragma once

#include <memory>
#include <string>

namespace boost::asio::ssl {
class context;
}

namespace carronade {

// PEM files: the certificate with the chain below it, and its private key without a passphrase. Both empty: no TLS.
struct TlsFiles {
  std::string certificate{};
  std::string key{};
  bool given() const { return !certificate.empty() || !key.empty(); }
};

// TLS 1.2 and 1.3 with forward secrecy only. Throws Error{kInvalidArgument | kNotFound | kIo} saying which file is
// wrong and how.
std::shared_ptr<boost::asio::ssl::context> make_tls_context(const TlsFiles& files);

}  // namespace carronade
