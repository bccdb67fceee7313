/** What is published, and what README promises. The installed tarball itself is tried by scripts/check_package.sh. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../lib/native/package_root.js';

const root = packageRoot();
const read = (path: string) => readFileSync(join(root, path), 'utf8');
const manifest = JSON.parse(read('package.json'));

test('the lock file names no registry host', () => {
  expect(read('package-lock.json')).not.toContain('"resolved"');
});

test('the lock file holds the packages of every platform, without which `npm ci` refuses it', () => {
  const { packages } = JSON.parse(read('package-lock.json'));
  const names = Object.values<{ optionalDependencies?: object }>(packages).flatMap((entry) =>
    Object.keys(entry.optionalDependencies ?? {}),
  );
  const locked = Object.keys(packages);
  expect(names.filter((name) => !locked.some((path) => path.endsWith(`node_modules/${name}`)))).toEqual([]);
});

test('what building from the published sources needs is a dependency of users', () => {
  const used = [...read('CMakeLists.txt').matchAll(/foreach\(package ([^)]+)\)/g)].flatMap(([, names = '']) =>
    names.split(' '),
  );
  expect(used.length).toBeGreaterThan(0);
  expect(Object.keys(manifest.dependencies)).toEqual(expect.arrayContaining(used));
});

test('the published folders hold all that CMake lists', () => {
  const sources = [...read('CMakeLists.txt').matchAll(/native\/[a-z0-9_/]+\.cpp/g)].map(([path]) => path);
  expect(manifest.files).toContain('native');
  expect(sources.filter((path) => !existsSync(join(root, path)))).toEqual([]);
});

test('every kernel file is listed in CMakeLists.txt', () => {
  const listed = read('CMakeLists.txt');
  const files = readdirSync(join(root, 'native'), { recursive: true, encoding: 'utf8' });
  const forgotten = files.filter((file) => file.endsWith('.cpp') && !listed.includes(`native/${file}`));
  expect(forgotten).toEqual([]);
});

describe.each(['README.md', 'docs/configuration.md', 'docs/dependencies.md', 'docs/gpu-status.md'])(
  '%s',
  (page) => {
    const text = read(page);

    test('has no dead links', () => {
      // Pictures are looked for by scripts/check_readme.sh: they are made after the code they show.
      const links = [...text.matchAll(/(?<!!)\[[^\]]*\]\(([^)#:]+)\)/g)].map(([, link = '']) => link);
      const dead = links.filter((link) => !existsSync(join(root, page, '..', link)));
      expect(dead).toEqual([]);
    });

    test('names scripts that exist', () => {
      const scripts = [...text.matchAll(/npm run ([a-z:]+)/g)].map(([, name = '']) => name);
      expect(scripts.filter((name) => !(name in manifest.scripts))).toEqual([]);
    });
  },
);

test('docs/dependencies.md lists every dependency', () => {
  const text = read('docs/dependencies.md');
  const names = Object.keys({ ...manifest.dependencies, ...manifest.devDependencies });
  expect(names.filter((name) => !text.includes(name))).toEqual([]);
});
