/** What a page tells about the server and itself. */
export interface InitParams {
  /** Host name, or an address that begins with `ws://` or `wss://`. */
  host: string;
  port?: number | string;
  /** `wss://` instead of `ws://`. Default: as the page itself was loaded. */
  ssl?: boolean;
  /** Data for the application's handshake function. */
  user?: unknown;
  /** Gets what the application's handshake function answered, before the callback of `init`. */
  handshakeCallback?: (user: any) => void;
  /** Connect again after the connection was lost: after 5, 10, 20, … seconds. Default: false. */
  reconnect?: boolean;
  /** Default: 10. */
  maxReconnectAttempts?: number;
  /** Sign messages, for servers with `useCrypto`. Needs https or the `rsa` script of old pages. */
  encrypt?: boolean;
  /** Tell the console about the connection. */
  log?: boolean;
  /** Writes messages instead of the client: a notify has the id 0. `pomelo.encode` is the client's way. */
  encode?: (id: number, route: string, msg: any) => ArrayLike<number>;
  /** Reads messages instead of the client: a push has the id 0. `pomelo.decode` is the client's way. */
  decode?: (bytes: Uint8Array) => Message | undefined;
}

export interface Message {
  id: number;
  route: string;
  body: any;
}

/** What went wrong, and on which side. */
export class PomeloError extends Error {
  readonly name: 'PomeloError';
  readonly type: 'address' | 'load' | 'closed' | 'handshake' | 'connection' | 'message' | 'body' | 'request';
  readonly route?: string;
  readonly detail?: number;
}

export interface Events {
  /** The server ends the session; `close` follows. */
  onKick: (kick: { reason?: string }) => void;
  close: (event: CloseEvent) => void;
  disconnect: (event: CloseEvent) => void;
  'io-error': (event: Event | PomeloError) => void;
  'heartbeat timeout': () => void;
  /** The WebSocket is open again; the callback of `init` follows. */
  reconnect: () => void;
  /** Text only when the server refuses the handshake, as in the original. */
  error: (error: PomeloError | string) => void;
}

export class Pomelo {
  constructor();

  /** Connects. `callback` is called after each handshake, also after those of reconnections; the promise is for the first. */
  init(params: InitParams, callback?: (socket: WebSocket) => void): Promise<any>;
  disconnect(): void;

  /** Sends a request; before the handshake is done it waits. */
  request<T = any>(route: string, callback?: (answer: T) => void): Promise<T>;
  request<T = any>(route: string, msg: object, callback?: (answer: T) => void): Promise<T>;
  notify(route: string, msg?: object): void;

  on<E extends keyof Events>(event: E, listener: Events[E]): this;
  /** A push, by its route. */
  on<T = any>(route: string, listener: (msg: T) => void): this;
  once<E extends keyof Events>(event: E, listener: Events[E]): this;
  once<T = any>(route: string, listener: (msg: T) => void): this;
  /** Without a listener all of the event go, without an event all. */
  off(event?: string, listener?: Function): this;
  removeListener(event?: string, listener?: Function): this;
  removeAllListeners(event?: string): this;
  emit(event: string, ...args: any[]): this;
  listeners(event: string): Function[];
  hasListeners(event: string): boolean;

  /** The message of a request, or with the id 0 of a notify, for `InitParams.encode`. */
  encode(id: number, route: string, msg: any): Uint8Array;
  /** What is in a message, for `InitParams.decode`. */
  decode(bytes: ArrayLike<number>): Message | undefined;
}

export const pomelo: Pomelo;
export default pomelo;
