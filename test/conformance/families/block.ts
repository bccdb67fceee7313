/** One block of the transformer, self or cross, with given subsets of images under stochastic depth. */
import { type BlockNames, names } from '../../../lib/model/backbone_layout.js';
import { keptImages } from '../../../lib/model/model_config.js';
import { Transformer, type TransformerCall } from '../../../lib/model/transformer.js';
import { ops } from '../../../lib/tensor/ops.js';
import type { GoldenFile } from '../golden_file.js';
import { modelConfig, Network } from '../network.js';
import type { Checks } from '../report.js';
import { Workspace } from '../workspace.js';

interface Case {
  readonly cross: boolean;
  readonly num_heads: number;
  readonly drop_path: number;
}

export async function checkBlock(file: GoldenFile, checks: Checks): Promise<void> {
  for (const [name, options] of file.cases<Case>()) await checkCase(file, checks, name, options);
  if (!file.has('keep_count.b')) return;
  const batches = file.values('keep_count.b');
  const rates = file.values('keep_count.drop');
  const kept = Float64Array.from(batches, (batch, i) => keptImages(batch, rates[i] as number));
  checks.tensor('keep_count', 'n_keep', kept, { tolerance: 0 });
}

async function checkCase(file: GoldenFile, checks: Checks, name: string, options: Case): Promise<void> {
  const { cross } = options;
  const [images, tokens, width] = file.shape(`${name}.in.x`) as [number, number, number];
  const kept = keptImages(images, options.drop_path);
  const stack = cross ? 'decoder' : 'encoder';
  const depth = cross ? { predictorDepth: 1 } : { encoderDepth: 1 };
  const config = modelConfig({ patchSize: 1, grid: [1, 1], width, numHeads: options.num_heads, ...depth });
  using network = new Network({ config, images, kept }, (build, reserve) => ({
    transformer: new Transformer(build, { stack, depth: 1, tokens, cross, training: true }),
    output: reserve([images * tokens, width]),
  }));
  const { transformer } = network.modules;
  const prefix = `backbone.${stack}.blocks.0.`;
  network.load(file, `${name}.param.`, prefix);

  using space = new Workspace(file);
  const block = names.block(stack, 0);
  const context = cross ? new CrossContext(file, name, network, block, space) : undefined;
  const call: TransformerCall = {
    coordinates: space.load(`${name}.in.coords`, [images * tokens, 2]),
    dropPath: subsets(file, name, kept, space),
    contexts: context ? [context.projected] : undefined,
  };
  transformer.input.write(file.floats(`${name}.in.x`));
  transformer.forward(call);
  checks.tensor(name, 'out.y', await transformer.output.readFloats());

  const grad = space.load(`${name}.cot.y`, [images * tokens, width]);
  transformer.backward(call, grad);
  checks.tensor(name, 'grad.in.x', await grad.readFloats());
  if (context) checks.tensor(name, 'grad.in.context', await context.backward());
  await network.checkGradients(file, checks, name, prefix);
}

/** The first `kept` entries of each permutation, one row a branch. */
function subsets(file: GoldenFile, name: string, kept: number, space: Workspace) {
  if (!file.has(`${name}.in.perm1`)) return undefined;
  const branches = ['perm1', 'perm2'].map((perm) => [...file.values(`${name}.in.${perm}`)].slice(0, kept));
  return { indices: space.from(branches.flat(), [2, kept], 'i32') };
}

/** What the predictor does once for all its blocks: keys and values of the context, and their way back. */
class CrossContext {
  readonly projected;
  readonly #context;
  readonly #keysValues;
  readonly #network: Network<unknown>;
  readonly #names: readonly string[];
  readonly #space: Workspace;

  constructor(
    file: GoldenFile,
    name: string,
    network: Network<unknown>,
    block: BlockNames,
    space: Workspace,
  ) {
    const [images, tokens, width] = file.shape(`${name}.in.context`) as [number, number, number];
    this.#network = network;
    this.#names = [block.key, block.value];
    this.#space = space;
    this.#context = space.load(`${name}.in.context`, [images * tokens, width]);
    this.#keysValues = space.output([images * tokens, 2 * width]);
    const weight = network.values.stacked(this.#names);
    ops.gemm({ a: this.#context, b: weight, transposeB: true, c: this.#keysValues });
    this.projected = {
      keys: this.#keysValues.columnRange(0, width),
      values: this.#keysValues.columnRange(width, 2 * width),
      coordinates: space.load(`${name}.in.context_coords`, [images * tokens, 2]),
      tokens,
    };
  }

  /** The gradient of the context; also fills those of the key and value weights. */
  backward() {
    const { gradients, values } = this.#network;
    const gradContext = this.#space.output(this.#context.shape);
    const a = this.#keysValues;
    ops.gemm({ a, b: values.stacked(this.#names), c: gradContext });
    ops.gemm({ a, b: this.#context, transposeA: true, c: gradients.stacked(this.#names) });
    return gradContext.readFloats();
  }
}
