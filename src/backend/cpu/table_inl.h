// The table itself, filled with the instances of the bodies above.
constexpr Kernels make_table(const char* name) {
  Kernels table{};
  table.name = name;
  table.tile_columns = V::kTile;
  table.matmul[static_cast<int>(Layout::kQ4_K)] = matmul<ReadQ45K<false>>;
  table.matmul[static_cast<int>(Layout::kQ5_K)] = matmul<ReadQ45K<true>>;
  table.matmul[static_cast<int>(Layout::kQ6_K)] = matmul<ReadQ6K>;
  table.matmul[static_cast<int>(Layout::kQ4_0)] = matmul<ReadPlanes<Layout::kQ4_0>>;
  table.matmul[static_cast<int>(Layout::kQ4_1)] = matmul<ReadPlanes<Layout::kQ4_1>>;
  table.matmul[static_cast<int>(Layout::kQ5_0)] = matmul<ReadPlanes<Layout::kQ5_0>>;
  table.matmul[static_cast<int>(Layout::kQ5_1)] = matmul<ReadPlanes<Layout::kQ5_1>>;
  table.matmul[static_cast<int>(Layout::kQ8_0)] = matmul<ReadPlanes<Layout::kQ8_0>>;
  table.matmul[static_cast<int>(Layout::kS8)] = matmul<ReadPlanes<Layout::kS8>>;
  table.matmul[static_cast<int>(Layout::kU8)] = matmul<ReadU8>;
  table.matmul_float[static_cast<int>(Layout::kF16) - kIntegerLayouts] = matmul_float<PlainPanel<ElementF16>>;
  table.matmul_float[static_cast<int>(Layout::kBF16) - kIntegerLayouts] = matmul_float<BFloatPanel>;
  table.matmul_float[static_cast<int>(Layout::kF32) - kIntegerLayouts] = matmul_float<PlainPanel<ElementF32>>;
  table.attention[static_cast<int>(KvFormat::kF16)] = attend<PlainKv<ElementF16>>;
  table.attention[static_cast<int>(KvFormat::kF32)] = attend<PlainKv<ElementF32>>;
  table.attention[static_cast<int>(KvFormat::kQ8_0)] = attend<QuantizedKv>;
  table.quantize_row = quantize_row;
  table.rms_norm_row = rms_norm_row;
  table.layer_norm_row = layer_norm_row;
  table.gelu_row = gelu_row;
  table.silu_mul = activate_and_multiply<false>;
  table.gelu_mul = activate_and_multiply<true>;
  table.merge_partial = merge_partial;
  table.to_half = to_half;
  table.argmax = argmax;
  table.find_above = find_above;
  return table;
}
