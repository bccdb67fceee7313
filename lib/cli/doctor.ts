/** `capi doctor`: what this machine offers, which backend a run would use and why, what to fix first for CUDA. */
import { availableParallelism, cpus, totalmem } from 'node:os';
import { addon, type CudaReport } from '../native/addon.js';
import { selectBackend } from '../native/backend.js';
import { bytes } from '../native/bytes.js';
import { packageRoot } from '../native/package_root.js';
import { packageVersion } from '../native/versions.js';
import { table } from './format.js';

export function doctorCommand(options: { json?: boolean }): void {
  const backend = selectBackend('auto', 'efficiency.backend=');
  const report = {
    version: packageVersion(),
    package: packageRoot(),
    node: process.versions.node,
    platform: `${process.platform}-${process.arch}`,
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    isa: addon.cpuIsa(),
    threads: availableParallelism(),
    memoryBytes: totalmem(),
    backend: backend.backend,
    reason: backend.reason,
    cuda: addon.cuda(),
  };
  if (options.json) {
    console.log(JSON.stringify(report));
    return;
  }
  console.log(
    table(
      [
        ['capi-vit', report.version],
        ['package', report.package],
        ['Node', report.node],
        ['platform', report.platform],
        ['CPU', report.cpu],
        ['kernels', report.isa],
        ['threads', String(report.threads)],
        ['memory', bytes(report.memoryBytes)],
        ['backend', `${report.backend}: ${report.reason}`],
        ...cudaRows(report.cuda),
      ].map(([name = '', value = '']) => [`${name.padEnd(9)} ${value}`]),
    ),
  );
}

/** (name, value): the build, the driver, cuBLASLt, each device, then the first thing to fix. */
export function cudaRows(cuda: CudaReport): readonly (readonly [string, string])[] {
  if (!cuda.built) return [['CUDA', cuda.problem ?? 'not in this build']];
  const kernels = cuda.interpreted
    ? 'kernels in the interpreter'
    : 'kernels for compute capability 8.0 and newer';
  const rows: [string, string][] = [
    ['CUDA', `${version(cuda.runtimeVersion)}, ${kernels}`],
    ['driver', cuda.driverVersion === 0 ? 'none' : `knows CUDA ${version(cuda.driverVersion)}`],
    ['cuBLASLt', cuda.cublaslt ? `${cuda.cublaslt.version}, ${cuda.cublaslt.path}` : 'not found'],
  ];
  cuda.devices.forEach((device, i) => {
    const memory =
      i === 0 ? `${bytes(device.freeBytes)} of ${bytes(device.totalBytes)} free` : bytes(device.totalBytes);
    rows.push([
      `GPU ${i}`,
      `${device.name}, compute capability ${device.capability}, ${device.multiprocessors} multiprocessors, ${memory}`,
    ]);
  });
  if (cuda.problem !== undefined) rows.push(['to fix', cuda.problem]);
  return rows;
}

/** 13000 is 13.0. */
function version(number: number): string {
  return `${Math.floor(number / 1000)}.${Math.floor((number % 1000) / 10)}`;
}
