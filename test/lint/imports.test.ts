/** Imports in lib/ point downward: cli → train → the rooms of the middle → tensor → native, and rooms form no cycles. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';

const levels = [
  ['native'],
  ['tensor'],
  ['config', 'data', 'model', 'loss', 'optim', 'distributed', 'checkpoint', 'eval'],
  ['train'],
  ['cli'],
];

interface Import {
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

const files = readdirSync('lib', { recursive: true, encoding: 'utf8' }).filter((path) =>
  path.endsWith('.ts'),
);
const roomOf = (path: string) => (path.includes('/') ? (path.split('/')[0] as string) : undefined);

/** Imports from one room into another; lib/index.ts, the public face, belongs to none. */
const imports = files.flatMap((file): Import[] => {
  const from = roomOf(file);
  if (from === undefined) return [];
  const text = readFileSync(join('lib', file), 'utf8');
  return [...text.matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)].flatMap(([, path = '']) => {
    const to = roomOf(normalize(join(dirname(file), path))) ?? 'index';
    return to === from ? [] : [{ file, from, to }];
  });
});

const levelOf = (room: string) => levels.findIndex((rooms) => rooms.includes(room));

test('every room has a level', () => {
  const rooms = new Set(files.flatMap((file) => roomOf(file) ?? []));
  expect([...rooms].filter((room) => levelOf(room) < 0)).toEqual([]);
  expect(imports.length).toBeGreaterThan(50);
});

test('no import points upward', () => {
  const upward = imports.filter(({ from, to }) => levelOf(to) < 0 || levelOf(to) > levelOf(from));
  expect(upward).toEqual([]);
});

test('rooms form no cycle', () => {
  const reachable = new Map(levels.flat().map((room) => [room, new Set<string>()]));
  for (const { from, to } of imports) reachable.get(from)?.add(to);
  for (const _ of reachable) {
    for (const targets of reachable.values()) {
      for (const room of [...targets]) for (const next of reachable.get(room) ?? []) targets.add(next);
    }
  }
  expect([...reachable].filter(([room, targets]) => targets.has(room)).map(([room]) => room)).toEqual([]);
});
