/** The length of a run and the parts of its schedules that are counted in iterations: they must fit into it. */
import type { CrossProblem } from './problems.js';
import type { Config, ScheduleConfig } from './schema.js';

const totalPath = 'optim.total_iters';

function schedules({ optim, capi }: Config): readonly (readonly [path: string, schedule: ScheduleConfig])[] {
  return [
    ['optim.lr_schedule', optim.lr_schedule],
    ['optim.momentum_schedule', optim.momentum_schedule],
    ['capi.clustering_optimizer.lr_schedule', capi.clustering_optimizer.lr_schedule],
  ];
}

/** One problem for all schedules, with the overrides that solve it: a run made shorter breaks them all at once. */
export function scheduleProblems(config: Config): CrossProblem[] {
  const total = config.optim.total_iters;
  const tooLong = schedules(config).filter(
    ([, { warmup_iters, freeze_iters }]) => warmup_iters + freeze_iters > total,
  );
  if (tooLong.length === 0) return [];
  const received = tooLong.map(([path, { warmup_iters: warmup, freeze_iters: freeze }]) =>
    freeze > 0 ? `${warmup} + ${freeze} frozen (${path})` : `${warmup} (${path})`,
  );
  const tenth = Math.ceil(total / 10);
  const solution = tooLong.flatMap(([path, { freeze_iters: freeze }]) => [
    `${path}.warmup_iters=${tenth}`,
    ...(freeze + tenth > total ? [`${path}.freeze_iters=0`] : []),
  ]);
  return [
    {
      path: `${tooLong[0]?.[0]}.warmup_iters`,
      message:
        `Expected every warmup_iters to be at most ${totalPath} (${total}) but received ${received.join(', ')}; ` +
        `add ${solution.join(' ')}, or make the run shorter with --steps ${total} (in a program: stepsOverrides(config, ${total})) instead of ${totalPath}=${total}: ` +
        'its warm-ups then shrink with it',
      involved: [totalPath, ...tooLong.flatMap(([path]) => [`${path}.warmup_iters`, `${path}.freeze_iters`])],
    },
  ];
}

/**
 * Overrides that make the same run `steps` iterations long: warm-ups and freezes keep their share of it. What `--steps` does:
 * `resolveConfig(config, stepsOverrides(config, 300))`.
 */
export function stepsOverrides(config: Config, steps: number): string[] {
  const total = config.optim.total_iters;
  return [
    `${totalPath}=${steps}`,
    ...schedules(config).flatMap(([path, { warmup_iters, freeze_iters }]) => {
      const freeze = Math.floor((freeze_iters * steps) / total);
      const warmup = Math.min(Math.ceil((warmup_iters * steps) / total), steps - freeze);
      return [
        ...(warmup === warmup_iters ? [] : [`${path}.warmup_iters=${warmup}`]),
        ...(freeze === freeze_iters ? [] : [`${path}.freeze_iters=${freeze}`]),
      ];
    }),
  ];
}
