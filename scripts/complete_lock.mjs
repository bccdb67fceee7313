// Adds to package-lock.json the optional packages of other platforms that a registry mirror did not offer when it was
// written. Without them `npm ci` refuses the file. Run it after `npm install`; it prints how many it added.
import { readFileSync, writeFileSync } from 'node:fs';

const path = new URL('../package-lock.json', import.meta.url);
const lock = JSON.parse(readFileSync(path, 'utf8'));
const packages = lock.packages;
let added = 0;

for (const [owner, entry] of Object.entries(packages)) {
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    if (isLocked(owner, name)) continue;
    packages[`node_modules/${name}`] = {
      version,
      ...platform(name),
      ...(entry.dev ? { dev: true } : {}),
      license: entry.license,
      optional: true,
    };
    added += 1;
  }
}

lock.packages = Object.fromEntries(Object.entries(packages).sort(([a], [b]) => (a < b ? -1 : 1)));
if (added > 0) writeFileSync(path, `${JSON.stringify(lock, null, 2)}\n`);
console.log(`${added} packages added to package-lock.json`);

/** As Node looks for a package: beside its owner's own, then further out. */
function isLocked(owner, name) {
  for (let folder = owner; ; folder = folder.slice(0, Math.max(folder.lastIndexOf('node_modules/') - 1, 0))) {
    if (`${folder ? `${folder}/` : ''}node_modules/${name}` in packages) return true;
    if (folder === '') return false;
  }
}

/** `@rollup/rollup-linux-x64-musl`: the names tell for which system a package is, so that npm leaves it out on others. */
function platform(name) {
  const words = name.split('/').at(-1).split('-');
  const os = words.find((word) => /^(android|darwin|freebsd|linux|openbsd|openharmony|win32)$/.test(word));
  const cpu = words.find((word) => /^(arm|arm64|ia32|loong64|ppc64|riscv64|s390x|x64)$/.test(word));
  if (!os || !cpu) throw new Error(`Expected the platform in the name of ${name}`);
  const last = words.at(-1);
  const libc =
    os !== 'linux' ? undefined : /^musl/.test(last) ? 'musl' : /^gnu/.test(last) ? 'glibc' : undefined;
  return { cpu: [cpu], ...(libc ? { libc: [libc] } : {}), os: [os] };
}
