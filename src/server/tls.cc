#include "server/tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509err.h>

#include <array>

#include <boost/asio/ssl/context.hpp>

#include "base/error.h"
#include "base/file.h"

namespace carronade {

namespace {

std::string reason_of(const boost::system::error_code& error) {
  const char* reason = ERR_reason_error_string(static_cast<unsigned long>(error.value()));
  return reason ? reason : error.message();
}

bool is_key_mismatch(const boost::system::error_code& error) {
  const auto code = static_cast<unsigned long>(error.value());
  return ERR_GET_LIB(code) == ERR_LIB_X509 && ERR_GET_REASON(code) == X509_R_KEY_VALUES_MISMATCH;
}

// Read by us first, so that a missing file is told from a wrong one.
std::string read_pem(const std::string& path, const char* flag) {
  if (path.empty()) {
    throw Error(ErrorCode::kInvalidArgument, "TLS needs both --tls-cert and --tls-key", flag);
  }
  return read_file(path, 1 << 20);
}

// Clients that ask for HTTP/2 as well are told that it is HTTP/1.1.
int choose_protocol(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* in, unsigned in_size,
                    void*) {
  static constexpr std::array<unsigned char, 9> kHttp11 = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, out_size, kHttp11.data(), kHttp11.size(), in, in_size) != OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_NOACK;
  }
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

}  // namespace

std::shared_ptr<boost::asio::ssl::context> make_tls_context(const TlsFiles& files) {
  namespace ssl = boost::asio::ssl;
  const std::string certificate = read_pem(files.certificate, "--tls-cert"), key = read_pem(files.key, "--tls-key");
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  SSL_CTX* handle = context->native_handle();
  SSL_CTX_set_min_proto_version(handle, TLS1_2_VERSION);
  SSL_CTX_set_cipher_list(handle, "ECDHE+AESGCM:ECDHE+CHACHA20");
  SSL_CTX_set_options(handle, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_mode(handle, SSL_MODE_RELEASE_BUFFERS);  // an idle connection keeps 34 kB less
  SSL_CTX_set_alpn_select_cb(handle, choose_protocol, nullptr);
  // A passphrase would be asked for at the terminal, where nobody may be.
  SSL_CTX_set_default_passwd_cb(handle, [](char*, int, int, void*) { return 0; });
  boost::system::error_code error;
  ERR_clear_error();
  context->use_certificate_chain(boost::asio::buffer(certificate), error);
  if (error) {
    throw_error(ErrorCode::kInvalidArgument, "{} holds no certificate that can be used: {}", files.certificate,
                reason_of(error));
  }
  context->use_private_key(boost::asio::buffer(key), ssl::context::pem, error);
  ERR_clear_error();
  if (is_key_mismatch(error) || (!error && SSL_CTX_check_private_key(handle) != 1)) {
    throw_error(ErrorCode::kInvalidArgument, "the private key {} is not that of the certificate {}", files.key,
                files.certificate);
  }
  if (error) {
    throw_error(ErrorCode::kInvalidArgument,
                "{} holds no private key that can be used: {} (a key with a passphrase cannot; `openssl pkey -in FILE` "
                "takes it away)",
                files.key, reason_of(error));
  }
  return context;
}

}  // namespace carronade
