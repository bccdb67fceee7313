/** `capi doctor`: what this machine offers, which backend a run would use and why. */
import { availableParallelism, cpus, totalmem } from 'node:os';
import { addon } from '../native/addon.js';
import { selectBackend } from '../native/backend.js';
import { packageRoot } from '../native/package_root.js';
import { packageVersion } from '../native/versions.js';
import { bytes, table } from './format.js';

export function doctorCommand(options: { json?: boolean }): void {
  const backend = selectBackend('auto');
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
  const { built, cublaslt } = report.cuda;
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
        ...(built ? [['cuBLASLt', cublaslt ? `${cublaslt.version}, ${cublaslt.path}` : 'not found']] : []),
      ].map(([name = '', value = '']) => [`${name.padEnd(9)} ${value}`]),
    ),
  );
}
