// The operations of this folder as XLA's foreign functions on CPUs, see operations.py.

#include "colours.h"
#include "direct.h"
#include "gram.h"
#include "winograd.h"

namespace {

ffi::Error check(int64_t channels) {
  if (channels % 16) return ffi::Error::InvalidArgument("channels should be multiples of 16");
  return ffi::Error::Success();
}

ffi::Error by_halves(Convolution convolution, ffi::ThreadPool& pool) {
#ifdef NST_JAX_HALVES
  if ((convolution.in | convolution.out) % HALVES) return ffi::Error::InvalidArgument("halves are of multiples of 32");
  if (convolution.is_turned) convolution.kernel += 9 * convolution.in * convolution.out;
  Direct{convolution}.run(pool);
  return ffi::Error::Success();
#else
  return ffi::Error(ffi::ErrorCode::kUnimplemented, "this processor multiplies no halves");
#endif
}

// Arrays without elements stand for none: no gate, or no bias and then no mask. A picture has no gate; what is pooled
// and turned round has one.
ffi::Error convolve(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> x, ffi::Buffer<ffi::PRED> gate,
                    ffi::AnyBuffer kernel, ffi::Buffer<ffi::F32> bias, bool is_turned,
                    bool is_pooled, int64_t padding,
                    ffi::ResultBuffer<ffi::F32> y, ffi::ResultBuffer<ffi::PRED> positive) {
  const auto size = is_pooled && is_turned ? gate.dimensions() : x.dimensions();
  Convolution convolution{size[0], size[1], size[2], y->dimensions()[2]};
  const bool is_of_colours = (is_turned ? convolution.out : convolution.in) == Colours::COLOURS;
  const int64_t channels = is_of_colours ? std::max(convolution.in, convolution.out) : convolution.in | convolution.out;
  if (auto error = check(channels); error.failure()) return error;
  convolution.x = x.typed_data();
  convolution.kernel = static_cast<const float*>(kernel.untyped_data());
  convolution.bias = bias.element_count() ? bias.typed_data() : nullptr;
  convolution.gate = gate.element_count() ? reinterpret_cast<const uint8_t*>(gate.typed_data()) : nullptr;
  convolution.y = y->typed_data();
  convolution.positive = reinterpret_cast<uint8_t*>(positive->typed_data());
  convolution.is_turned = is_turned;
  convolution.is_pooled = is_pooled;
  convolution.padding = static_cast<int>(padding);
  if (is_of_colours)
    Colours{convolution}.run(pool);
  else if (kernel.element_type() == ffi::F32)
    run_winograd(convolution, pool);
  else
    return by_halves(convolution, pool);
  return ffi::Error::Success();
}

ffi::Error gram(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> F, ffi::ResultBuffer<ffi::F32> G) {
  const auto size = F.dimensions();
  if (auto error = check(size[1]); error.failure()) return error;
  Gram{size[0], size[1], F.typed_data(), G->typed_data()}.run(pool);
  return ffi::Error::Success();
}

}  // namespace

// Whether convolutions may be given kernels as halves.
extern "C" bool NstJaxTakesHalves() { return may_multiply_halves(); }

XLA_FFI_DEFINE_HANDLER_SYMBOL(NstJaxConvolve, convolve,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::PRED>>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Attr<bool>("turned")
                                  .Attr<bool>("pooled")
                                  .Attr<int64_t>("padding")
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::PRED>>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(NstJaxGram, gram,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>());
