/** Machines that cannot use CUDA: `capi doctor` and a run that asks for it name the same first thing to fix, with what is there. */
import { runModule } from '../support/addon_child.js';

const nowhere = '/nowhere/libcublasLt.so.13';

const machines: readonly [what: string, env: Readonly<Record<string, string>>, problem: RegExp][] = [
  [
    'no driver',
    { CAPI_INTERPRETER_DRIVER: '0' },
    /^no NVIDIA driver was found \(libcuda\.so\.1\); install driver 580 or newer$/,
  ],
  [
    'a driver too old',
    { CAPI_INTERPRETER_DRIVER: '12040' },
    /^the NVIDIA driver knows CUDA 12\.4 but this build needs CUDA 13\.0; install driver 580 or newer$/,
  ],
  [
    'a driver that sees no device',
    { CAPI_INTERPRETER_DEVICES: '0' },
    /^the driver sees no GPU; look at nvidia-smi and CUDA_VISIBLE_DEVICES$/,
  ],
  [
    'a device older than the kernels',
    { CAPI_INTERPRETER_CAPABILITY: '7.5' },
    /^interpreter has compute capability 7\.5 but the kernels need 8\.0 or newer$/,
  ],
  [
    'a device with less shared memory than the kernels need',
    { CAPI_INTERPRETER_CAPABILITY: '8.6', CAPI_INTERPRETER_SHARED: '101376' },
    /^interpreter allows a block 99 KiB of shared memory but the kernels need 163, as A100, H100 and newer data centre GPUs have$/,
  ],
  [
    'a device that another process has to itself',
    { CAPI_INTERPRETER_BUSY: '1' },
    /^interpreter does not start: cudaErrorDevicesUnavailable, .*; look at nvidia-smi for other processes and its compute mode$/,
  ],
  [
    'no cuBLASLt',
    { CAPI_CUBLASLT: nowhere },
    /^CAPI_CUBLASLT names no cuBLASLt 12 or 13: .*\/nowhere\/libcublasLt\.so\.13: cannot open/,
  ],
  [
    'a cuBLASLt too old',
    { CAPI_INTERPRETER_CUBLASLT: '111103' },
    /^CAPI_CUBLASLT names no cuBLASLt 12 or 13: .* is version 11\.11\.3$/,
  ],
  [
    'a cuBLASLt of a major version to come',
    { CAPI_INTERPRETER_CUBLASLT: '140200' },
    /^CAPI_CUBLASLT names no cuBLASLt 12 or 13: .* is version 14\.2\.0$/,
  ],
];

test.each(machines)('%s', (_what, env, problem) => {
  const { stdout, stderr, status } = runModule(
    `
    const { selectBackend } = await import('./lib/native/backend.ts');
    const { cudaRows } = await import('./lib/cli/doctor.ts');
    let refused;
    try { selectBackend('cuda', 'efficiency.backend='); } catch ({ code, message }) { refused = { code, message }; }
    const rows = cudaRows(addon.cuda());
    console.log(JSON.stringify({ toFix: rows.at(-1), refused, auto: selectBackend('auto', 'efficiency.backend=') }));`,
    env,
  );
  expect({ stderr, status }).toEqual({ stderr: '', status: 0 });
  const { toFix, refused, auto } = JSON.parse(stdout);
  expect(toFix).toEqual(['to fix', expect.stringMatching(problem)]);
  expect(refused).toEqual({
    code: 'ERR_CAPI_BACKEND_UNAVAILABLE',
    message: `Expected a CUDA device for efficiency.backend=cuda but ${toFix[1]}. Or use efficiency.backend=cpu or auto.`,
  });
  expect(auto).toEqual({ backend: 'cpu', reason: toFix[1] });
});

test('a device that cannot be used is refused by memory and graphs too, whatever else is there', () => {
  const { stdout } = runModule(
    `
    for (const attempt of [() => Tensor.zeros([1], 'f32', 'cuda'), () => new addon.Graph().begin()]) {
      try { attempt(); } catch ({ code, message }) { console.log(code, message); }
    }`,
    { CAPI_INTERPRETER_CAPABILITY: '7.5' },
  );
  const line =
    'ERR_CAPI_BACKEND_UNAVAILABLE [cuda] Expected a CUDA device but interpreter has compute capability 7.5 but the kernels need 8.0 or newer';
  expect(stdout.split('\n')).toEqual([line, line]);
});
