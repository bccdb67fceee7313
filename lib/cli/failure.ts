/** An error as a command prints it. */

/** The code ends the line of a single sentence, and stands on a line of its own under a list. */
export function failureText({ message, code }: { readonly message: string; readonly code: string }): string {
  return `error: ${message}${message.includes('\n') ? '\n' : ' '}[${code}]`;
}
