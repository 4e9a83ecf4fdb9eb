/** The errors of the client: one tree, with a class for every error code of the native protocol. */

/** Anything that the client throws on purpose. */
export class GatewayError extends Error {
  constructor(message: string, options?: ErrorOptions);
}

export interface Refusal {
  status: number;
  code?: string | null;
  field?: string | null;
  errorId?: string | null;
  retryAfter?: number | null;
}

/** A refusal by the gateway. */
export class APIError extends GatewayError {
  constructor(message: string, refusal: Refusal);
  static code: string;
  readonly status: number;
  readonly code: string;
  /** The field at fault. */
  readonly field: string | null;
  /** An id that is in the gateway's log. */
  readonly errorId: string | null;
  /** Seconds. */
  readonly retryAfter: number | null;
}

export class BadRequest extends APIError {}
export class Unauthorized extends APIError {}
export class QuotaExceeded extends APIError {}
export class Forbidden extends APIError {}
export class NotFound extends APIError {}
export class SessionNotFound extends NotFound {}
export class MethodNotAllowed extends APIError {}
export class Conflict extends APIError {}
export class Gone extends APIError {}
export class PayloadTooLarge extends APIError {}
export class UnsupportedMediaType extends APIError {}
export class Unprocessable extends APIError {}
export class RateLimited extends APIError {}
export class QueueFull extends RateLimited {}
export class InternalError extends APIError {}
export class UpstreamError extends APIError {}
export class Unavailable extends APIError {}

/** The gateway could not be reached, or did not respond, for as long as the client may try. */
export class ConnectionFailed extends GatewayError {}

/** The caller's time-out passed first. What was asked for may still happen. */
export class WaitTimeout extends GatewayError {}

/** A run ended with `agent_abort`. */
export class RunAborted extends GatewayError {
  constructor(reason: string, explanation: string);
  readonly reason: string;
  readonly explanation: string;
}

/** The body, the headers and the secret of a webhook message do not belong together, or the message is too old. */
export class InvalidSignature extends GatewayError {}

/** Every class of a refusal by its code. */
export const BY_CODE: Map<string, typeof APIError>;

/** Makes the error of a response. */
export function errorFromResponse(status: number, body: unknown, retryAfter?: number | null): APIError;
