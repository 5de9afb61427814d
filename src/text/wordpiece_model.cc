#include "base/error.h"
#include "text/token_model.h"

namespace carronade {

std::unique_ptr<const TokenModel> make_wordpiece_model(const TokenizerData&, const TokenizerPipeline&) {
  throw Error(ErrorCode::kUnsupported, "WordPiece tokenizers are not supported");
}

}  // namespace carronade
