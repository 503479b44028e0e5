// A .pte file on the libraries of ExecuTorch's wheel, for Python's ctypes: torch, which its own bindings need, comes for
// ARM in a CUDA build only. One thread. An ExecuTorch error is its number, 0 is none; sizes are in bytes.
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>
#include <executorch/extension/threadpool/threadpool_guard.h>

using executorch::extension::make_tensor_ptr;
using executorch::extension::Module;
using executorch::extension::TensorPtr;
using executorch::extension::threadpool::NoThreadPoolGuard;
using executorch::runtime::Error;
using executorch::runtime::EValue;

extern "C" {

void* stage_open(const char* path, int* error) {
  NoThreadPoolGuard one_thread;  // XNNPACK keeps the pool that it finds while it loads
  auto module = std::make_unique<Module>(path);
  *error = static_cast<int>(module->load_forward());
  return *error == 0 ? module.release() : nullptr;
}

void stage_close(void* stage) { delete static_cast<Module*>(stage); }

// What runs stage's parts: the backends that the file delegates to, one a line.
void stage_backends(void* stage, char* names, size_t size) {
  auto meta = static_cast<Module*>(stage)->method_meta("forward");
  std::string found;
  for (size_t k = 0; meta.ok() && k < meta->num_backends(); ++k) {
    auto name = meta->get_backend_name(k);
    if (name.ok()) found += std::string(*name) + "\n";
  }
  std::strncpy(names, found.c_str(), size - 1);
}

int stage_run(void* stage, void* const* inputs, const size_t* input_sizes, size_t input_count, void* const* outputs,
              const size_t* output_sizes, size_t output_count) {
  NoThreadPoolGuard one_thread;
  auto& module = *static_cast<Module*>(stage);
  auto meta = module.method_meta("forward");
  if (!meta.ok()) return static_cast<int>(meta.error());
  if (meta->num_inputs() != input_count) return static_cast<int>(Error::InvalidArgument);
  std::vector<TensorPtr> tensors;
  std::vector<EValue> values;
  for (size_t k = 0; k < input_count; ++k) {
    auto info = meta->input_tensor_meta(k);
    if (!info.ok()) return static_cast<int>(info.error());
    if (info->nbytes() != input_sizes[k]) return static_cast<int>(Error::InvalidArgument);
    auto sizes = info->sizes();
    tensors.push_back(make_tensor_ptr({sizes.begin(), sizes.end()}, inputs[k], info->scalar_type()));
    values.emplace_back(tensors.back());
  }
  auto found = module.forward(values);
  if (!found.ok()) return static_cast<int>(found.error());
  if (found->size() != output_count) return static_cast<int>(Error::InvalidArgument);
  for (size_t k = 0; k < output_count; ++k) {
    const auto& tensor = found->at(k).toTensor();
    if (static_cast<size_t>(tensor.nbytes()) != output_sizes[k]) return static_cast<int>(Error::InvalidArgument);
    std::memcpy(outputs[k], tensor.const_data_ptr(), output_sizes[k]);
  }
  return 0;
}
}
