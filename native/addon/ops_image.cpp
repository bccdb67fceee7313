#include "addon/args.h"
#include "addon/ops.h"
#include "core/error.h"
#include "ops/image/crop_parameters.h"
#include "ops/image/patchify.h"
#include "ops/image/permute_index.h"
#include "ops/image/resize_crop.h"

namespace capi::addon {

namespace {

Napi::Value patchify(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "patchify", [](Args& args) {
    capi::patchify({.images = args.matrix("images"),
                    .flips = args.optional_matrix("flips"),
                    .out = args.matrix("out"),
                    .height = args.integer("height"),
                    .width = args.integer("width"),
                    .patch = args.integer("patch")},
                   args.stream());
  });
}

// The bytes of a [height, width, 3] image, refused when the array has another length.
uint8_t* pixels(const Args& args, const char* name, int64_t height, int64_t width) {
  const Args::Bytes bytes = args.bytes(name);
  if (height < 1 || width < 1 || height > (1 << 20) || width > (1 << 20) ||
      bytes.size != static_cast<size_t>(height * width * 3)) {
    throw Error(ErrorCode::kShapeMismatch, std::string("[resize_crop] Expected ") + name +
                                               " of shape [" + std::to_string(height) + ", " +
                                               std::to_string(width) + ", 3] but received " +
                                               std::to_string(bytes.size) + " bytes");
  }
  return bytes.data;
}

Napi::Value resize_crop(const Napi::CallbackInfo& info) {
  return host_function(info, "resize_crop", [&](Args& args) {
    const int64_t height = args.integer("height"), width = args.integer("width");
    const int64_t out_height = args.integer("outHeight"), out_width = args.integer("outWidth");
    capi::resize_crop({.image = pixels(args, "image", height, width),
                       .height = height,
                       .width = width,
                       .top = args.integer("top"),
                       .left = args.integer("left"),
                       .box_height = args.integer("boxHeight"),
                       .box_width = args.integer("boxWidth"),
                       .out = pixels(args, "out", out_height, out_width),
                       .out_height = out_height,
                       .out_width = out_width});
    return args.env().Undefined();
  });
}

Napi::Value crop_parameters(const Napi::CallbackInfo& info) {
  return host_function(info, "crop_parameters", [](Args& args) {
    const CropBox box = capi::crop_parameters({.seed = args.u64("seed"),
                                               .sample = args.u64("sample"),
                                               .height = args.integer("height"),
                                               .width = args.integer("width"),
                                               .min_scale = args.number("minScale"),
                                               .max_scale = args.number("maxScale"),
                                               .min_aspect = args.number("minAspect"),
                                               .max_aspect = args.number("maxAspect"),
                                               .flip_probability = args.number("flipProbability")});
    Napi::Object result = Napi::Object::New(args.env());
    result.Set("top", static_cast<double>(box.top));
    result.Set("left", static_cast<double>(box.left));
    result.Set("height", static_cast<double>(box.height));
    result.Set("width", static_cast<double>(box.width));
    result.Set("flip", box.flip);
    return result;
  });
}

Napi::Value permute_index(const Napi::CallbackInfo& info) {
  return host_function(info, "permute_index", [](Args& args) {
    const uint64_t index = capi::permute_index({.seed = args.u64("seed"),
                                                .epoch = args.u64("epoch"),
                                                .index = args.u64("index"),
                                                .count = args.u64("count")});
    return Napi::Number::New(args.env(), static_cast<double>(index));
  });
}

}  // namespace

void export_image_ops(Napi::Object exports) {
  export_functions(exports, {{"patchify", patchify},
                             {"resizeCrop", resize_crop},
                             {"cropParameters", crop_parameters},
                             {"permuteIndex", permute_index}});
}

}  // namespace capi::addon
