/** `a{000..031}b{x,y}`: every string that the braces stand for, in order, zero padding kept. */
export function expandBraces(pattern: string): string[] {
  const match = /\{([^{}]*)\}/.exec(pattern);
  if (match === null) return [pattern];
  const before = pattern.slice(0, match.index);
  const after = expandBraces(pattern.slice(match.index + match[0].length));
  return alternatives(match[1] as string).flatMap((choice) => after.map((rest) => before + choice + rest));
}

function alternatives(inside: string): string[] {
  const range = /^(\d+)\.\.(\d+)$/.exec(inside);
  if (range === null) return inside.includes(',') ? inside.split(',') : [`{${inside}}`];
  const [first, last] = [range[1] as string, range[2] as string];
  const [begin, end] = [Number(first), Number(last)];
  const step = begin <= end ? 1 : -1;
  // As in a shell: 0 alone is a number, 00 asks for padding.
  const width = [first, last].some((text) => /^0\d/.test(text)) ? Math.max(first.length, last.length) : 0;
  return Array.from({ length: Math.abs(end - begin) + 1 }, (_, i) =>
    String(begin + i * step).padStart(width, '0'),
  );
}
