// One function a family of ops: adds its JavaScript functions to the exports.
#pragma once

#include <napi.h>

namespace capi::addon {

void export_attention_ops(Napi::Object exports);
void export_clustering_ops(Napi::Object exports);
void export_image_ops(Napi::Object exports);
void export_linear_ops(Napi::Object exports);
void export_loss_ops(Napi::Object exports);
void export_norm_ops(Napi::Object exports);
void export_optim_ops(Napi::Object exports);
void export_patches_ops(Napi::Object exports);
void export_residual_ops(Napi::Object exports);
void export_tensor_ops(Napi::Object exports);

}  // namespace capi::addon
