/** The encoder up to its first block: embedding of the visible patches, registers in front, coordinates. */
import { names } from '../../../lib/model/backbone_layout.js';
import { Encoder } from '../../../lib/model/encoder.js';
import { patchValues } from '../../../lib/model/model_config.js';
import { ops } from '../../../lib/tensor/ops.js';
import type { GoldenFile } from '../golden_file.js';
import { modelConfig, Network } from '../network.js';
import { cutPatches, selectRows } from '../pixels.js';
import type { Checks } from '../report.js';
import { Workspace } from '../workspace.js';
import { gradientOfImages } from './image_gradient.js';

interface Case {
  readonly patch: number;
  readonly grid: readonly [number, number];
  readonly n_registers: number;
  readonly dim: number;
}

export async function checkTokens(file: GoldenFile, checks: Checks): Promise<void> {
  for (const [name, options] of file.cases<Case>()) await checkCase(file, checks, name, options);
}

async function checkCase(file: GoldenFile, checks: Checks, name: string, options: Case): Promise<void> {
  const { patch, grid, n_registers: registers, dim: width } = options;
  const imageShape = { shape: file.shape(`${name}.in.images`), patch };
  const images = imageShape.shape[0] as number;
  const positions = grid[0] * grid[1];
  const visibleName = `${name}.in.visible_indices`;
  const visible = file.has(visibleName) ? file.values(visibleName) : undefined;
  const perImage = visible ? visible.length / images : positions;
  // No heads are used without blocks.
  const config = modelConfig({ patchSize: patch, grid, width, numHeads: 1, registers });
  using network = new Network(
    { config, images },
    (build) => new Encoder(build, { visible: perImage, training: true }),
  );
  network.load(file, `${name}.param.`, 'backbone.');
  const encoder = network.modules;

  using space = new Workspace(file);
  const all = cutPatches(file.floats(`${name}.in.images`), imageShape);
  const columns = patchValues(config);
  const pixels = visible ? selectRows(all, columns, visible) : all;
  const input = {
    patches: space.from(pixels, [images * perImage, columns]),
    visible: visible ? space.indices(visible) : undefined,
  };
  encoder.forward(input);
  checks.tensor(name, 'out.tokens', await encoder.stack.output.readFloats());
  checks.tensor(name, 'out.coords_enc', await encoder.coordinates.readFloats());
  const allCoordinates = space.output([images * positions, 2]);
  const gridSize = { gridRows: grid[0], gridCols: grid[1] };
  ops.coordinates({ out: allCoordinates, ...gridSize, registers: 0, registerKind: 'edge' });
  checks.tensor(name, 'out.coords_all', await allCoordinates.readFloats());

  const grad = space.load(`${name}.cot.tokens`, [images * encoder.tokens, width]);
  // Coordinates depend on no parameter.
  file.ignore(`${name}.cot.coords`);
  encoder.backward(input, grad);
  if (file.has(`${name}.grad.in.images`)) {
    const weight = network.values.matrix(names.patchWeight);
    const gradImages = await gradientOfImages({
      gradTokens: grad,
      weight,
      registers,
      visible,
      imageShape,
      space,
    });
    checks.tensor(name, 'grad.in.images', gradImages);
  }
  await network.checkGradients(file, checks, name, 'backbone.');
}
