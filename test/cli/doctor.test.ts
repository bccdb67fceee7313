/** What `capi doctor` says of CUDA. */
import { cudaRows, doctorCommand } from '../../lib/cli/doctor.js';
import { addon, type CudaReport } from '../../lib/native/addon.js';

const usable: CudaReport = {
  built: true,
  interpreted: false,
  lost: false,
  runtimeVersion: 13000,
  driverVersion: 13010,
  cublaslt: { version: '13.1.1', path: '/usr/lib/libcublasLt.so.13' },
  devices: [
    { name: 'NVIDIA A100', capability: '8.0', multiprocessors: 108, totalBytes: 80e9, freeBytes: 79e9 },
    { name: 'NVIDIA H100', capability: '9.0', multiprocessors: 132, totalBytes: 85e9, freeBytes: 0 },
  ],
};

test('a machine that can use CUDA: what was built, the driver, cuBLASLt, every device', () => {
  expect(cudaRows(usable)).toEqual([
    ['CUDA', '13.0, kernels for compute capability 8.0 and newer'],
    ['driver', 'knows CUDA 13.1'],
    ['cuBLASLt', '13.1.1, /usr/lib/libcublasLt.so.13'],
    ['GPU 0', 'NVIDIA A100, compute capability 8.0, 108 multiprocessors, 79.0 GB of 80.0 GB free'],
    ['GPU 1', 'NVIDIA H100, compute capability 9.0, 132 multiprocessors, 85.0 GB'],
  ]);
});

test('without a driver: the first thing to fix, last', () => {
  const { cublaslt: _cublaslt, ...rest } = usable;
  const problem = 'no NVIDIA driver was found';
  expect(cudaRows({ ...rest, driverVersion: 0, devices: [], problem })).toEqual([
    ['CUDA', '13.0, kernels for compute capability 8.0 and newer'],
    ['driver', 'none'],
    ['cuBLASLt', 'not found'],
    ['to fix', problem],
  ]);
});

test('a build without CUDA: how to make one', () => {
  const report = {
    built: false,
    interpreted: false,
    lost: false,
    runtimeVersion: 0,
    driverVersion: 0,
    devices: [],
    problem: 'no',
  };
  expect(cudaRows(report)).toEqual([['CUDA', 'no']]);
});

test('the report of this machine, for people and as JSON', () => {
  const printed: string[] = [];
  const print = console.log;
  console.log = (text) => printed.push(String(text));
  try {
    doctorCommand({});
    doctorCommand({ json: true });
  } finally {
    console.log = print;
  }
  const { problem } = addon.cuda();
  expect(printed[0]).toMatch(/^backend +cpu: /m);
  if (problem !== undefined) expect(printed[0]).toContain(problem);
  expect(JSON.parse(printed[1] ?? '')).toMatchObject({
    backend: 'cpu',
    isa: addon.cpuIsa(),
    cuda: addon.cuda(),
  });
});
