import { barLine, duration, Progress, plainLine } from '../../lib/train/progress.js';

class Recorder {
  text = '';
  constructor(
    readonly isTTY: boolean,
    public columns = 100,
  ) {}
  write(text: string): void {
    this.text += text;
  }
}

const line = {
  iteration: 700,
  total: 3500,
  capiLoss: 4.1034,
  clusteringLoss: 4.4912,
  targetEntropy: 1.9,
  imagesPerSecond: 374.6,
  eta: 239,
};

function update(iteration: number) {
  return { iteration, capiLoss: 4, clusteringLoss: 5, targetEntropy: 2 };
}

function oldTerm(term: string | undefined): Disposable {
  const before = process.env.TERM;
  process.env.TERM = term;
  return {
    [Symbol.dispose]() {
      if (before === undefined) delete process.env.TERM;
      else process.env.TERM = before;
    },
  };
}

test('a wide line shows rate, losses, entropy and time left', () => {
  const text = barLine(line, 120);
  for (const part of [
    '20%',
    '700/3500',
    'loss 4.103',
    'clustering 4.491',
    'entropy 1.900',
    '375 img/s',
    'eta 3m 59s',
  ]) {
    expect(text).toContain(part);
  }
});

test('a line never exceeds the width, at any width', () => {
  for (let width = 1; width <= 200; width += 1) {
    expect([...barLine(line, width)].length).toBeLessThanOrEqual(width);
    expect(
      [...barLine({ ...line, capiLoss: Number.NaN, eta: Number.NaN, iteration: 3500 }, width)].length,
    ).toBeLessThanOrEqual(width);
  }
});

test('on a terminal the line is redrawn in place and the cursor comes back', () => {
  using _term = oldTerm('xterm');
  const stream = new Recorder(true);
  let now = 0;
  {
    using progress = new Progress({ totalIterations: 10, batchSize: 8, stream, now: () => now });
    for (let i = 1; i <= 10; i += 1) {
      now += 1000;
      progress.update(update(i));
    }
    expect(stream.text).not.toContain('\n');
  }
  expect(stream.text.startsWith('\x1b[?25l')).toBe(true);
  expect(stream.text.endsWith('\n\x1b[?25h')).toBe(true);
  expect(stream.text).toContain('8.0 img/s');
  expect(stream.text).toContain('100%');
});

test('redraws are limited to ten a second', () => {
  using _term = oldTerm('xterm');
  const stream = new Recorder(true);
  let now = 0;
  using progress = new Progress({ totalIterations: 1000, batchSize: 8, stream, now: () => now });
  for (let i = 1; i <= 1000; i += 1) {
    now += 1;
    progress.update(update(i));
  }
  expect(stream.text.split('\r').length - 1).toBeLessThanOrEqual(11);
});

test('a note stands on a line of its own and the bar follows', () => {
  using _term = oldTerm('xterm');
  const stream = new Recorder(true);
  let now = 0;
  using progress = new Progress({ totalIterations: 10, batchSize: 8, stream, now: () => now });
  now = 500;
  progress.update(update(1));
  progress.note('checkpoint saved');
  expect(stream.text).toContain('\r\x1b[2Kcheckpoint saved\n\r\x1b[2K 10%');
});

test('elsewhere there are plain lines without escape codes, at the given period', () => {
  const stream = new Recorder(false);
  let now = 0;
  const progress = new Progress({ totalIterations: 100, batchSize: 8, stream, now: () => now });
  for (let i = 1; i <= 100; i += 1) {
    now += 1000;
    progress.update(update(i));
  }
  progress.finish();
  progress.finish();
  progress.update(update(101));
  const lines = stream.text.trimEnd().split('\n');
  expect(lines).toHaveLength(11);
  expect(lines.at(-1)).toBe(
    '[100/100]  capi_loss 4.000  clustering_loss 5.000  target_entropy 2.000  8.0 images/s  eta 0s',
  );
  expect(stream.text).not.toContain('\x1b');
});

test('a dumb terminal gets plain lines', () => {
  using _term = oldTerm('dumb');
  const stream = new Recorder(true);
  using progress = new Progress({ totalIterations: 10, batchSize: 8, stream });
  progress.update(update(1));
  expect(stream.text).not.toContain('\x1b');
});

/** What is shown after each of some steps that end at these times, ms. */
function linesAt(times: readonly number[], firstIteration = 1): string[] {
  const stream = new Recorder(false);
  let now = 0;
  const clock = { stream, plainPeriod: 0, now: () => now };
  const progress = new Progress({ totalIterations: 1000, batchSize: 10, ...clock });
  times.forEach((time, i) => {
    now = time;
    progress.update(update(firstIteration + i));
  });
  return stream.text.trimEnd().split('\n');
}

test('there is no rate and no time left until three steps after the first were timed', () => {
  const lines = linesAt([60_000, 61_000, 62_000, 63_000, 64_000]);
  for (const line of lines.slice(0, 3)) expect(line).toContain('-- images/s  eta --');
  // The slow first step counts for neither.
  expect(lines[3]).toContain('10.0 images/s  eta 16m 36s');
  expect(lines[4]).toContain('10.0 images/s  eta 16m 35s');
});

test('iterations of an earlier process do not count for the rate', () => {
  expect(linesAt([1000, 2000, 3000, 4000], 901).at(-1)).toContain('10.0 images/s  eta 1m 36s');
});

test('where nothing is learned there are no losses, and the last line comes once', () => {
  const stream = new Recorder(false);
  const progress = new Progress({ totalIterations: 10, batchSize: 1, stream });
  progress.update({ iteration: 10 });
  progress.finish();
  expect(stream.text).toMatch(/^\[10\/10\] {2}\S+ images\/s {2}eta \S+\n$/);
  const { capiLoss: _, clusteringLoss: __, targetEntropy: ___, ...bare } = line;
  expect(barLine(bare, 120)).toMatch(/^ 20% \S+ {2}700\/3500 {2}eta 3m 59s {2}375 img\/s$/);
});

test('a plain line says what a number is', () => {
  expect(plainLine(line)).toBe(
    '[700/3500]  capi_loss 4.103  clustering_loss 4.491  target_entropy 1.900  375 images/s  eta 3m 59s',
  );
});

test.each([
  [0, '0s'],
  [59.4, '59s'],
  [59.6, '1m 00s'],
  [3599, '59m 59s'],
  [7650, '2h 07m'],
  [385_200, '4d 11h'],
  [Number.NaN, '--'],
])('%d seconds are %s', (seconds, text) => {
  expect(duration(seconds)).toBe(text);
});
