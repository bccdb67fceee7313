# A shim: node-gyp, prebuildify and node-gyp-build reach the CMake build through it. Sources are listed in CMakeLists.txt only.
{
  "targets": [
    {
      "target_name": "capi",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake",
          "inputs": ["CMakeLists.txt"],
          # Never created, so the action always runs and CMake decides what is stale.
          "outputs": ["<(PRODUCT_DIR)/.never"],
          "action": ["sh", "scripts/build_for_gyp.sh", "<(PRODUCT_DIR)"]
        }
      ]
    }
  ]
}
