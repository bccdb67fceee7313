/** The scalar Python literals that dataset addresses use: 'text', "text", 3, -1.5, True, False, None. */
export function parsePythonLiteral(source: string): string | number | boolean | null | undefined {
  const text = source.trim();
  if (text === 'True') return true;
  if (text === 'False') return false;
  if (text === 'None') return null;
  if (/^[+-]?(\d[\d_]*\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text)) return Number(text.replaceAll('_', ''));
  const quoted = /^(['"])((?:[^\\]|\\.)*)\1$/s.exec(text);
  if (quoted === null) return undefined;
  const [, quote = '', body = ''] = quoted;
  if (new RegExp(`(^|[^\\\\])${quote}`).test(body)) return undefined;
  return body.replace(/\\(.)/gs, (whole, escaped: string) => escapes[escaped] ?? whole);
}

const escapes: Readonly<Record<string, string>> = { n: '\n', t: '\t', '\\': '\\', "'": "'", '"': '"' };
