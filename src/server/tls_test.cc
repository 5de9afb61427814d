#include "server/tls.h"

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <cstdio>
#include <fstream>
#include <functional>
#include <memory>

#include "base/error.h"
#include "base/testing.h"
#include "chat/testing.h"
#include "server/http_server.h"
#include "server/openai_routes.h"
#include "server/testing.h"

namespace carronade {
namespace {

// A key and a certificate that it signed itself.
TlsFiles make_certificate(const std::filesystem::path& folder, const std::string& name,
                          const char* passphrase = nullptr) {
  TlsFiles files{(folder / (name + ".crt")).string(), (folder / (name + ".key")).string()};
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(EVP_EC_gen("P-256"), EVP_PKEY_free);
  const std::unique_ptr<X509, decltype(&X509_free)> certificate(X509_new(), X509_free);
  X509_set_version(certificate.get(), 2);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), 0);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 3600);
  X509_set_pubkey(certificate.get(), key.get());
  X509_sign(certificate.get(), key.get(), EVP_sha256());
  const auto write = [](const std::string& path, const std::function<void(std::FILE*)>& content) {
    std::FILE* file = std::fopen(path.c_str(), "w");
    content(file);
    std::fclose(file);
  };
  write(files.certificate, [&](std::FILE* file) { PEM_write_X509(file, certificate.get()); });
  write(files.key, [&](std::FILE* file) {
    PEM_write_PrivateKey(file, key.get(), passphrase ? EVP_aes_128_cbc() : nullptr, nullptr, 0, nullptr,
                         const_cast<char*>(passphrase));
  });
  return files;
}

// A TLS client of bytes, over a socket of its own.
class TlsClient {
 public:
  explicit TlsClient(uint16_t port, int newest = TLS1_3_VERSION)
      : context_(SSL_CTX_new(TLS_client_method()), SSL_CTX_free), ssl_(nullptr, SSL_free) {
    SSL_CTX_set_max_proto_version(context_.get(), newest);
    fd_ = connect_to(port);
    ssl_.reset(SSL_new(context_.get()));
    SSL_set_fd(ssl_.get(), fd_);
    connected_ = SSL_connect(ssl_.get()) == 1;
    ERR_clear_error();
  }
  ~TlsClient() { close(); }
  TlsClient(const TlsClient&) = delete;
  TlsClient& operator=(const TlsClient&) = delete;

  bool connected() const { return connected_; }
  void close(bool farewell = false) {
    if (fd_ < 0) return;
    if (farewell) SSL_shutdown(ssl_.get());
    ::close(fd_);
    fd_ = -1;
  }
  void send(std::string_view bytes) { SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size())); }
  // To the end; `whole_` when the server said farewell.
  std::string read_to_end() {
    while (read_some()) {
    }
    return received_;
  }
  bool read_until(std::string_view part) {
    while (received_.find(part) == received_.npos) {
      if (!read_some()) return false;
    }
    return true;
  }
  bool whole() const { return whole_; }

 private:
  bool read_some() {
    char bytes[4096];
    const int size = SSL_read(ssl_.get(), bytes, sizeof bytes);
    if (size <= 0) {
      whole_ = SSL_get_error(ssl_.get(), size) == SSL_ERROR_ZERO_RETURN;
      ERR_clear_error();
      return false;
    }
    received_.append(bytes, static_cast<size_t>(size));
    return true;
  }
  std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context_;
  std::unique_ptr<SSL, decltype(&SSL_free)> ssl_;
  int fd_ = -1;
  bool connected_ = false, whole_ = false;
  std::string received_;
};

class TlsTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { set_up_test_logging(); }

  void start(bool unlimited = true) {
    generator_ = std::make_shared<ScriptedGenerator>(test_tokens("Yes<|im_end|>"), unlimited);
    add_openai_routes(router_, state_);
    serve_test_model(*state_, generator_);
    HttpServerOptions options;
    options.tls = make_certificate(directory_.path(), "server");
    server_ = std::make_unique<HttpServer>(router_, options);
    port_ = server_->listen({});
    server_->start();
  }

  TemporaryDirectory directory_;
  std::shared_ptr<ScriptedGenerator> generator_;
  std::shared_ptr<ServingState> state_ = std::make_shared<ServingState>();
  Router router_;
  std::unique_ptr<HttpServer> server_;
  uint16_t port_ = 0;
};

TEST_F(TlsTest, AnswersOnOneConnectionAndSaysFarewell) {
  start();
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    TlsClient client(port_, version);
    ASSERT_TRUE(client.connected());
    client.send(post(kStream));
    ASSERT_TRUE(client.read_until("[DONE]"));
    const std::string large(1 << 20, ' ');
    client.send(post(std::string(kChat) + large) + get("/health", "Connection: close\r\n"));
    const std::string all = client.read_to_end();
    EXPECT_NE(all.find("\"content\":\"Yes\""), std::string::npos);
    EXPECT_TRUE(all.ends_with("\r\n\r\n")) << all.substr(all.size() - 100);  // of /health, which has no body
    EXPECT_TRUE(client.whole());
  }
}

TEST_F(TlsTest, RefusesWhatIsOldOrNoTls) {
  start();
  EXPECT_FALSE(TlsClient(port_, TLS1_1_VERSION).connected());
  const std::string answer = Client(port_).send(get("/health")).read_to_end();
  EXPECT_EQ(status_of(answer), 400);
  EXPECT_TRUE(answer.ends_with("https:// to reach it.")) << answer;
  Client(port_).send(std::string("\x16\x03\x01") + std::string(500, 'x')).read_to_end();
  EXPECT_TRUE(TlsClient(port_).connected());
}

TEST_F(TlsTest, AClientThatLeavesFreesTheModel) {
  start(false);
  int left = 0;
  for (const bool farewell : {false, true}) {
    TlsClient client(port_);
    client.send(post(kStream));
    ASSERT_TRUE(client.read_until("assistant"));
    client.close(farewell);
    generator_->wait_for_cancelled(++left);  // no token was ever allowed
  }
}

TEST_F(TlsTest, StopEndsAHandshakeThatWaits) {
  start();
  const Client waiting(port_);
  while (server_->connections() == 0) std::this_thread::yield();
  EXPECT_TRUE(server_->stop(std::chrono::seconds(60)));
}

TEST_F(TlsTest, SaysWhichFileIsWrong) {
  const TlsFiles good = make_certificate(directory_.path(), "a"), other = make_certificate(directory_.path(), "b");
  const TlsFiles locked = make_certificate(directory_.path(), "c", "secret");
  const std::string garbage = (directory_.path() / "garbage").string();
  std::ofstream(garbage) << "not PEM";
  const auto refused = [](const TlsFiles& files) -> std::string {
    try {
      make_tls_context(files);
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_EQ(refused(good), "accepted");
  EXPECT_NE(refused({good.certificate, ""}).find("both"), std::string::npos);
  EXPECT_NE(refused({"/no/such.crt", good.key}).find("/no/such.crt"), std::string::npos);
  EXPECT_NE(refused({garbage, good.key}).find("garbage holds no certificate"), std::string::npos);
  EXPECT_NE(refused({good.certificate, garbage}).find("garbage holds no private key"), std::string::npos);
  EXPECT_NE(refused(locked).find("passphrase"), std::string::npos);
  EXPECT_NE(refused({good.certificate, other.key}).find("is not that of"), std::string::npos)
      << refused({good.certificate, other.key});
}

}  // namespace
}  // namespace carronade
