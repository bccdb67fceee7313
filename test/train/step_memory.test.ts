/** Memory is planned before a run and flat during it. In processes of their own, where nothing else allocates. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { RuntimeStats } from '../../lib/native/addon.js';
import { TemporaryFolder } from '../support/images.js';
import type { MemoryReport } from '../support/memory_child.js';
import { tinyConfig } from '../support/tiny_run.js';

/** Sizes below and above the large pages that memory comes in, and the variants with buffers of their own. */
const variants = [
  [],
  ['efficiency.param_dtype=bfloat16', 'model.predictor=self'],
  ['model.predictor=fused', 'capi.clustering_kwargs.positionwise_sk=false'],
  ['capi.loss_variant=ema_head', 'efficiency.threads=3'],
  ['capi.target_source=pixels', 'capi.loss_variant=mlp_head'],
  ['model.transformers_kwargs.embed_dim=128', 'model.encoder_kwargs.depth=3', 'capi.num_clusters=1000'],
];

async function memoryOf(overrides: readonly string[]): Promise<MemoryReport> {
  using folder = new TemporaryFolder();
  const config = tinyConfig(folder, ['optim.total_iters=2', ...overrides]);
  const path = folder.write('child.json', JSON.stringify(config));
  const args = ['--import', 'tsx', join('test', 'support', 'memory_child.ts'), path];
  const { stdout, stderr } = await promisify(execFile)(process.execPath, args);
  expect(stderr).toBe('');
  return JSON.parse(stdout);
}

/** Storage comes in pages of 4 KiB, from 2 MiB on in pages of 2 MiB. */
function inPages(bytes: number): number {
  const page = bytes >= 2 ** 21 ? 2 ** 21 : 4096;
  return Math.max(1, Math.ceil(bytes / page)) * page;
}

/** Bytes of tensors: without the kernels' scratch, which lasts. */
const tensors = ({ liveBytes, scratchBytes }: RuntimeStats) => liveBytes - scratchBytes;

test.each(variants.map((overrides) => [overrides.join(' ') || 'the method itself', overrides] as const))(
  'what is planned is what is allocated, no step allocates after the first, all is given back: %s',
  async (_name, overrides) => {
    const { memory, planned, started, firstStep, fiftyMore, ...after } = await memoryOf(overrides);
    const { peak, ...parts } = memory;
    expect(peak).toBe(Object.values(parts).reduce((sum, part) => sum + part, 0));
    expect(planned).toMatchObject({ liveBytes: 0, peakBytes: 0 });

    const whole = Object.values(parts).reduce((sum, part) => sum + inPages(part), 0);
    expect(tensors(started)).toBe(whole);
    expect(tensors(firstStep)).toBe(whole);
    expect(fiftyMore).toEqual(firstStep);

    expect(Object.values(after).map(tensors)).toEqual([0, 0, 0]);
    expect(after.refused.leakedStorages).toBe(0);
  },
);
