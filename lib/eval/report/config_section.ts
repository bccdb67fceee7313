/** The configuration, folded away, with keys and comments coloured. */
import { escapeHtml } from './text.js';

export function configSection(config: string): string {
  const lines = config
    .trimEnd()
    .split('\n')
    .map((line) =>
      escapeHtml(line)
        .replace(/^(\s*(?:- )?)([\w.-]+):/, '$1<span class="k">$2</span>:')
        .replace(/(^|\s)(#(?!\d+;).*)$/, '$1<span class="c">$2</span>'),
    );
  return `<section><h2>Configuration</h2><p class="lead">Resolved: with every default filled in.</p><details><summary>Show ${lines.length} lines</summary><pre>${lines.join('\n')}</pre></details></section>`;
}
