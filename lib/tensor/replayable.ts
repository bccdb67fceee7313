/**
 * A fixed sequence of ops that runs again and again: enqueued anew on the CPU, on CUDA captured as one graph, which costs one
 * call instead of thousands.
 */
import { addon, type Backend, type Graph } from '../native/addon.js';

export class Replayable implements Disposable {
  readonly #backend: Backend;
  #runs = 0;
  #graph: Graph | undefined;

  constructor(backend: Backend) {
    this.#backend = backend;
  }

  /**
   * Enqueues the ops, which `enqueue` enqueues the same way each time: nothing that changes between runs may be an argument, only
   * the contents of tensors. Throws ERR_CAPI_INVALID_ARGUMENT when `enqueue` reads, writes or allocates.
   */
  run(enqueue: () => void): void {
    // The first run goes op by op: it grows scratch memory and chooses algorithms, which a graph cannot.
    if (this.#backend === 'cpu' || this.#runs++ === 0) {
      enqueue();
      return;
    }
    this.#graph ??= this.#capture(enqueue);
    this.#graph.replay();
  }

  #capture(enqueue: () => void): Graph {
    const graph = new addon.Graph();
    graph.begin();
    try {
      enqueue();
      graph.end();
    } catch (error) {
      graph.dispose();
      throw error;
    }
    return graph;
  }

  [Symbol.dispose](): void {
    this.#graph?.dispose();
    this.#graph = undefined;
  }
}
