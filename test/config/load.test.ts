import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import {
  architectureDifferences,
  describeDifferences,
  sampleDifferences,
  trajectoryDifferences,
} from '../../lib/config/compare.js';
import { loadConfig, parseConfig, resolveConfig } from '../../lib/config/load.js';
import { editDistance, knownKeys } from '../../lib/config/problems.js';
import { stepsOverrides } from '../../lib/config/run_length.js';
import { runShape } from '../../lib/config/shape.js';
import { configToYaml } from '../../lib/config/to_yaml.js';
import type { CapiError } from '../../lib/native/errors.js';
import { writeResolvedConfig } from '../../lib/train/resolved_config.js';

const DEFAULTS = process.env.CAPI_PUBLISHED_CONFIG ?? 'test/fixtures/published_keys.yaml';

function problems(overrides: readonly string[], settings: unknown = {}): string {
  try {
    resolveConfig(settings, overrides);
  } catch (error) {
    expect((error as CapiError).code).toBe('ERR_CAPI_INVALID_CONFIG');
    return (error as Error).message;
  }
  throw new Error('the configuration was accepted');
}

describe('the published defaults', () => {
  test('load unchanged and equal the defaults here', async () => {
    const { config } = await loadConfig(DEFAULTS);
    expect(config).toEqual(resolveConfig().config);
  });

  test('are honoured key by key or named as ignored', async () => {
    const { config, ignored } = await loadConfig(DEFAULTS);
    const missing: string[] = [];
    const visit = (published: object, ours: unknown, path: string) => {
      for (const [key, value] of Object.entries(published)) {
        const name = `${path}${key}`;
        if (ignored?.includes(`${name} (`) || ignored?.includes(`${name}.* (`)) continue;
        const own = (ours as Record<string, unknown>)?.[key];
        if (value !== null && typeof value === 'object' && !Array.isArray(value))
          visit(value, own, `${name}.`);
        else if (JSON.stringify(own) !== JSON.stringify(value)) missing.push(name);
      }
    };
    visit(parse(await readFile(DEFAULTS, 'utf8')), config, '');
    expect(missing).toEqual([]);
    expect(ignored).not.toContain('\n');
  });

  test('give the sizes of ViT-L/14', async () => {
    const { config } = await loadConfig(DEFAULTS);
    expect(runShape(config)).toMatchObject({
      grid: 16,
      positions: 256,
      masked: 166,
      visible: 90,
      predicted: 8,
      encoder: { depth: 24, embedDim: 1024, numHeads: 16, headDim: 64 },
      predictor: { depth: 12, embedDim: 1024 },
    });
  });

  test('nothing is named as ignored when the file does not set it', () => {
    expect(resolveConfig({ train: { seed: 1 } }).ignored).toBeUndefined();
  });
});

describe('merging', () => {
  test('a file changes what it names and keeps the other defaults of the section', () => {
    const { config } = parseConfig('optim:\n  lr_schedule: {base_value: 1e-3, warmup_iters: 10}\n');
    expect(config.optim.lr_schedule).toMatchObject({
      base_value: 0.001,
      warmup_iters: 10,
      truncate_cos: 0.8,
    });
    expect(config.optim.momentum_schedule).toMatchObject({ start_warmup_value: 1, base_value: 0.999 });
  });

  test('an override wins over the file, a mapping is merged, a list replaced', () => {
    const yaml = 'train: {seed: 1}\ncapi: {clustering_kwargs: {n_sk_iter: 5}}';
    const { config } = parseConfig(yaml, [
      'train.seed=7',
      'capi.clustering_kwargs={target_temp: 0.1}',
      'data.crop_scale=[0.2, 1]',
    ]);
    expect(config.train.seed).toBe(7);
    expect(config.capi.clustering_kwargs).toMatchObject({ n_sk_iter: 5, target_temp: 0.1 });
    expect(config.data.crop_scale).toEqual([0.2, 1]);
  });

  test('paths stay text whatever they look like', () => {
    const { config } = resolveConfig({}, [
      'train.output_dir=2024',
      "data.dataset=torchvision://ImageFolder?root='a=b'",
    ]);
    expect(config.train.output_dir).toBe('2024');
    expect(config.data.dataset).toBe("torchvision://ImageFolder?root='a=b'");
  });

  test('a stack may have its own depth and drop path', () => {
    const { config } = resolveConfig({ model: { decoder_kwargs: { depth: 5, drop_path_rate: 0 } } });
    expect(runShape(config).predictor).toMatchObject({ depth: 5, embedDim: 1024, dropPathRate: 0 });
    expect(runShape(config).encoder).toMatchObject({ depth: 24, dropPathRate: 0.2 });
  });

  test('the configuration is frozen to the leaves', () => {
    const { config } = resolveConfig();
    expect(() => {
      (config.data.crop_scale as unknown as number[])[0] = 0;
    }).toThrow(TypeError);
  });
});

describe('an unknown key', () => {
  test.each([
    ['capi.num_cluster=3', 'capi.num_clusters'],
    ['optim.batch_size=3', 'optim.batch_size_per_gpu'],
    ['data.mask_raito=0.5', 'data.mask_ratio'],
    ['num_clusters=3', 'capi.num_clusters'],
    ['modle.patch_size=3', 'model'],
    ['model.encoder_kwargs.dept=3', 'model.encoder_kwargs.depth'],
    ['model.embed_dim=64', 'model.transformers_kwargs.embed_dim'],
  ])('%s is refused with the nearest name', (override, nearest) => {
    expect(problems([override])).toContain(`did you mean ${nearest}?`);
  });

  test('without a likely name is refused plainly, even __proto__', () => {
    expect(problems(['xyzzy=1'])).toBe('overrides: Unknown key xyzzy');
    expect(problems(['__proto__.polluted=1'])).toContain('Unknown key __proto__');
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });

  test('a swap of neighbours is one edit', () => {
    expect(editDistance('raito', 'ratio')).toBe(1);
    expect(editDistance('', 'abc')).toBe(3);
    expect(editDistance('kitten', 'sitting')).toBe(3);
  });
});

describe('a mistake is said to be', () => {
  const message = (yaml: string, overrides: readonly string[]) => {
    try {
      parseConfig(yaml, overrides, 'a.yaml', 'command line');
    } catch (error) {
      return (error as Error).message;
    }
    throw new Error('the configuration was accepted');
  };

  test("the file's, or the command line's", () => {
    expect(message('optim: {totl_iters: 5}', ['train.seed=1'])).toMatch(
      /^a\.yaml: Unknown key optim\.totl_iters/,
    );
    expect(message('{}', ['optim.totl_iters=5'])).toMatch(/^command line: Unknown key optim\.totl_iters/);
    expect(message('{}', ['optim={totl_iters: 5}'])).toMatch(/^command line: Unknown key optim\.totl_iters/);
    expect(message('train: {seed: x}', ['train.seed=y'])).toMatch(/^command line: .*"y"/);
    expect(message('{}', ['xyzzy'])).toMatch(/^command line: Expected key=value/);
  });

  test("the command line's where it breaks a rule between keys", () => {
    expect(message('{}', ['optim.total_iters=100'])).toMatch(/^command line: Expected every warmup_iters/);
    expect(message('optim: {total_iters: 100}', ['train.seed=1'])).toMatch(/^a\.yaml: Expected every/);
  });

  test("the one's and the other's, each behind its name", () => {
    expect(message('xyzzy: 1', ['zyxxy=1'])).toBe(
      'a.yaml and command line: 2 problems\n  - a.yaml: Unknown key xyzzy\n  - command line: Unknown key zyxxy',
    );
  });
});

describe('a bad value', () => {
  test('says what was expected, where, and what came', () => {
    expect(problems(['capi.clustering_kwargs.n_sk_iter=0'])).toBe(
      'overrides: Expected an integer in [1, 100] for capi.clustering_kwargs.n_sk_iter but received 0 (number)',
    );
    expect(problems(['train.seed=abc'])).toContain('for train.seed but received "abc" (string)');
    expect(problems(['model=3'])).toContain('Expected a mapping of keys for model but received 3 (number)');
  });

  test.each([
    'capi.num_clusters=1',
    'capi.num_clusters=2.5',
    'capi.student_temp=0',
    'capi.clustering_kwargs.target_temp=-1',
    'capi.clustering_kwargs.pred_temp=.nan',
    'data.mask_ratio=1',
    'data.mask_ratio=0',
    'data.prediction_subsampling=1.5',
    'data.crop_scale=[0.5]',
    'data.crop_scale=[0, 1]',
    'data.crop_scale=[0.9, 0.5]',
    'data.masking_generator=Blok',
    'data.images_size=0',
    'optim.total_iters=0',
    'optim.optimizer=SGD',
    'optim.optimizer_kwargs.betas=[0.9, 1]',
    'optim.lr_schedule.base_value=-1',
    'optim.momentum_schedule.base_value=1.1',
    'optim.lr_schedule.truncate_cos=2',
    'model.in_chans=1',
    'model.norm_layer_type=LayerNorm',
    'model.out_layer=3',
    'model.transformers_kwargs.drop_path_rate=1',
    'model.transformers_kwargs.block_kwargs.drop_path_type=naive',
    'efficiency.param_dtype=float16',
    'efficiency.backend=tpu',
    'efficiency.threads=-1',
    'train.output_dir=',
    'train.checkpointing.max_to_keep=0',
  ])('%s is refused', (override) => {
    expect(problems([override])).toContain(override.slice(0, override.indexOf('=')));
  });

  test('float16 is refused with the reason', () => {
    expect(problems(['efficiency.param_dtype=float16'])).toContain('float16 would need loss scaling');
  });

  test('all problems are listed at once, those between keys among them', () => {
    const message = problems([
      'capi.num_cluster=3',
      'capi.student_temp=0',
      'data.images_size=225',
      'model.n_registers=6',
      'nonsense',
    ]);
    expect(message).toMatch(/^overrides: 5 problems\n/);
    for (const part of [
      'num_cluster:',
      'student_temp',
      'use data.images_size=224, or model.patch_size 15 or 9 or 5',
      'n_registers',
      'key=value',
    ]) {
      expect(message).toContain(part);
    }
  });

  test('YAML that does not parse is reported with its line', () => {
    expect(() => parseConfig('a: [1\nb: 2', [], 'x.yaml')).toThrow(/x\.yaml is not valid YAML\n {2}line 2/);
    expect(() => parseConfig('[1, 2]')).toThrow(/not a mapping/);
    expect(() => parseConfig('train: {seed: 1, seed: 2}')).toThrow(/line 1/);
  });

  test('a missing file is reported by its path', async () => {
    await expect(loadConfig('/nonexistent/x.yaml')).rejects.toMatchObject({
      code: 'ERR_CAPI_INVALID_CONFIG',
      message: expect.stringContaining('/nonexistent/x.yaml'),
    });
  });
});

describe('rules between keys', () => {
  test.each([
    [['data.images_size=225'], 'multiple of model.patch_size (14)'],
    [['model.transformers_kwargs.embed_dim=1000'], 'multiple of num_heads (16)'],
    [['model.transformers_kwargs.embed_dim=96'], 'multiple of 4 but received 96 / 16 = 6'],
    [['model.decoder_kwargs.embed_dim=100'], 'model.decoder_kwargs.embed_dim'],
    [['model.n_registers=6'], 'use 8 or model.register_coordinates=zeros'],
    [['data.mask_ratio=0.001'], 'at least 1 visible and 1 masked'],
    [['data.mask_ratio=0.9999', 'data.images_size=14'], 'at least 1 visible and 1 masked'],
    [['data.prediction_subsampling=0.001'], 'at least 1 of 166 masked patches'],
    [['optim.total_iters=100'], 'every warmup_iters to be at most optim.total_iters (100)'],
    [['data.masking_generator_kwargs.min_aspect=9'], 'min_aspect <= max_aspect'],
    [['data.masking_generator_kwargs={min_aspect: 9, max_aspect: 10}'], 'fit a grid of 16 a side'],
    [['capi.target_source=frozen_teacher'], 'Expected a checkpoint for capi.teacher_weights'],
    [['model.decoder_kwargs.embed_dim=512'], '1024 for the encoder and 512 for the predictor'],
    [
      ['model.encoder_kwargs.block_kwargs.attn_kwargs.num_heads=8'],
      '8 for the encoder and 16 for the predictor',
    ],
    [['capi.loss_variant=ema_head', 'capi.target_source=pixels'], 'capi.target_source=ema_teacher'],
  ])('%j is refused', (overrides, part) => {
    expect(problems(overrides)).toContain(part);
  });

  test('what the rules are about may be switched off', () => {
    expect(
      resolveConfig({}, ['model.n_registers=6', 'model.register_coordinates=zeros']).config,
    ).toBeDefined();
    expect(resolveConfig({}, ['model.n_registers=0']).config).toBeDefined();
    expect(
      resolveConfig({}, ['data.masking_generator=Uniform', 'data.masking_generator_kwargs.min_aspect=9'])
        .config,
    ).toBeDefined();
  });
});

describe('the length of a run', () => {
  const fix = /add ((?:\S+=\d+ ?)+),/;

  test('too short for the warm-ups is one problem, with the overrides that solve it', () => {
    const message = problems(['optim.total_iters=25']);
    expect(message).not.toContain('\n');
    for (const path of [
      'optim.lr_schedule',
      'optim.momentum_schedule',
      'capi.clustering_optimizer.lr_schedule',
    ]) {
      expect(message).toContain(`50000 (${path})`);
    }
    expect(message).toContain('--steps 25');
    const overrides = fix.exec(message)?.[1]?.split(' ') ?? [];
    expect(overrides).toHaveLength(3);
    const { config } = resolveConfig({}, ['optim.total_iters=25', ...overrides]);
    expect(config.optim.lr_schedule.warmup_iters).toBe(3);
  });

  test('too short for a freeze is solved too', () => {
    const freeze = ['optim.total_iters=10', 'optim.lr_schedule.freeze_iters=10'];
    const message = problems(freeze);
    expect(message).toContain('50000 + 10 frozen (optim.lr_schedule)');
    expect(
      resolveConfig({}, [...freeze, ...(fix.exec(message)?.[1]?.split(' ') ?? [])]).config,
    ).toBeDefined();
  });

  test.each([1, 2, 3, 20, 3500, 7000])(
    'of the demo at %d steps keeps the shares of its warm-ups',
    async (steps) => {
      const { config } = await loadConfig('configs/demo.yaml');
      const shorter = await loadConfig('configs/demo.yaml', stepsOverrides(config, steps));
      const { optim, capi } = shorter.config;
      expect(optim.total_iters).toBe(steps);
      for (const schedule of [
        optim.lr_schedule,
        optim.momentum_schedule,
        capi.clustering_optimizer.lr_schedule,
      ]) {
        expect(schedule.warmup_iters).toBe(Math.ceil(steps / 10));
      }
    },
  );

  test('of a run with a freeze fits at any number of steps', () => {
    const { config } = resolveConfig({}, [
      'optim.lr_schedule.freeze_iters=100001',
      'optim.total_iters=150001',
    ]);
    for (let steps = 1; steps < 50; steps += 1) {
      expect(resolveConfig(config, stepsOverrides(config, steps)).config.optim.total_iters).toBe(steps);
    }
  });

  test('that does not change asks for no other override', () => {
    const { config } = resolveConfig();
    expect(stepsOverrides(config, 500_000)).toEqual(['optim.total_iters=500000']);
  });
});

describe('warnings', () => {
  test('too few images for the prototypes name the fix', () => {
    const [warning] = resolveConfig({}, ['capi.num_clusters=1024', 'optim.batch_size_per_gpu=512']).warnings;
    expect(warning).toContain('512 images a step for 1024 prototypes');
    expect(warning).toContain('optim.batch_size_per_gpu to 1024');
    expect(warning).toContain('capi.num_clusters to 512');
  });

  test('there is none with enough images, or one problem over all positions', () => {
    expect(resolveConfig({}, ['capi.num_clusters=512']).warnings).toEqual([]);
    expect(resolveConfig({}, ['capi.clustering_kwargs.positionwise_sk=false']).warnings).toEqual([]);
  });
});

describe('the resolved file', () => {
  test('loads again to the same configuration, without noise', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'capi-config-'));
    try {
      const { config } = await loadConfig(DEFAULTS, ['train.seed=3', 'optim.lr_schedule.base_value=1e-7']);
      const again = await loadConfig(await writeResolvedConfig(config, folder));
      expect(again.config).toEqual(config);
      expect(again.ignored).toBeUndefined();
      expect(await readdir(folder)).toEqual(['config.yaml']);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  test('does not repeat a resume from an old checkpoint', () => {
    const { config } = resolveConfig({}, ['train.resume_from=a.json']);
    expect(parseConfig(configToYaml(config)).config.train.resume_from).toBeNull();
  });
});

describe('comparing with a checkpoint', () => {
  const { config } = resolveConfig();

  test('every difference of architecture is listed', () => {
    const other = resolveConfig({}, [
      'model.patch_size=16',
      'model.transformers_kwargs.embed_dim=512',
      'model.encoder_kwargs.depth=12',
      'capi.num_clusters=100',
    ]).config;
    const list = architectureDifferences(config, other);
    expect(list.map(({ path }) => path)).toEqual([
      'model.patch_size',
      'encoder depth',
      'encoder embedDim',
      'predictor embedDim',
      'capi.num_clusters',
    ]);
    expect(describeDifferences(list)).toContain('model.patch_size: 14 in the checkpoint, 16 here');
  });

  test('the image size matters to learned positions only', () => {
    const sized = (size: number, position: string) =>
      resolveConfig({}, [`data.images_size=${size}`, `model.position=${position}`]).config;
    expect(architectureDifferences(sized(224, 'none'), sized(448, 'none'))).toEqual([]);
    expect(architectureDifferences(sized(224, 'learned'), sized(448, 'learned'))).toHaveLength(1);
  });

  test('what changes the samples is told apart from what changes the training only', () => {
    const other = resolveConfig({}, [
      'train.seed=4',
      'data.dataset=elsewhere',
      'data.max_bad_share=0.5',
      'optim.batch_size_per_gpu=64',
      'optim.weight_decay=0',
      'optim.total_iters=600000',
      'train.log_loss_every=1',
    ]).config;
    const paths = (list: readonly { readonly path: string }[]) => list.map(({ path }) => path).sort();
    const samples = ['data.dataset', 'optim.batch_size_per_gpu', 'train.seed'];
    expect(paths(sampleDifferences(config, other))).toEqual(samples);
    expect(paths(trajectoryDifferences(config, other))).toEqual(
      [...samples, 'optim.total_iters', 'optim.weight_decay'].sort(),
    );
  });

  test('what changes the rest of the run is told apart from what does not', () => {
    const other = resolveConfig({}, ['train.seed=4', 'train.output_dir=x', 'efficiency.threads=3']).config;
    expect(architectureDifferences(config, other)).toEqual([]);
    expect(trajectoryDifferences(config, other)).toEqual([{ path: 'train.seed', saved: 0, current: 4 }]);
  });
});

test.each(['demo', 'tiny', 'vit_s14', 'vit_b14', 'vit_l14'])(
  'configs/%s.yaml opens with its comment and loads',
  async (name) => {
    const path = `configs/${name}.yaml`;
    const text = await readFile(path, 'utf8');
    for (const word of ['command', 'machine', 'outcome'])
      expect(text.slice(0, text.indexOf('\ntrain:'))).toContain(word);
    expect((await loadConfig(path)).ignored).toBeUndefined();
  },
);

test('configs/tiny.yaml opens without a warning', async () => {
  expect((await loadConfig('configs/tiny.yaml')).warnings).toEqual([]);
});

test('configs/vit_l14.yaml is the published recipe', async () => {
  const { config } = await loadConfig('configs/vit_l14.yaml', ['train.output_dir=.']);
  const published = await loadConfig(DEFAULTS, [`data.dataset=${config.data.dataset}`]);
  expect(config).toEqual(published.config);
});

// The fixture is only read; a test that needs another file writes its own.
test('merge keys of YAML work', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'capi-config-'));
  const path = join(folder, 'a.yaml');
  await writeFile(
    path,
    'optim:\n  lr_schedule: &s {warmup_iters: 5}\n  momentum_schedule: {<<: *s, base_value: 0.9}\n',
  );
  const { config } = await loadConfig(path);
  expect(config.optim.momentum_schedule).toMatchObject({ warmup_iters: 5, base_value: 0.9 });
  await rm(folder, { recursive: true });
});

test('docs/configuration.md names every key that is not published, and no key that does not exist', async () => {
  const text = await readFile('docs/configuration.md', 'utf8');
  const named = [...text.matchAll(/^\| `([\w.]+)`/gm)].map(([, key]) => key ?? '');
  expect(named.filter((key) => !knownKeys().includes(key))).toEqual([]);
  const ours = (await readFile('lib/config/schema.ts', 'utf8')).match(/\* Ours\./g);
  expect(ours).not.toBeNull();
  expect(named.length).toBeGreaterThanOrEqual(ours?.length ?? 0);
});
