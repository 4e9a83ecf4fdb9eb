/**
 * The errors of the client: one tree, with a class for every error code of the native protocol.
 *
 * GatewayError
 *     APIError                the gateway refused the request
 *         BadRequest, Unauthorized, QuotaExceeded, Forbidden, NotFound (SessionNotFound), MethodNotAllowed, Conflict,
 *         Gone, PayloadTooLarge, UnsupportedMediaType, Unprocessable, RateLimited (QueueFull), InternalError,
 *         UpstreamError, Unavailable
 *     ConnectionFailed        no response, however often the request was repeated
 *     WaitTimeout             the caller's own time-out has passed
 *     RunAborted              a run ended without an answer
 *     InvalidSignature        a webhook message is not from the gateway
 *
 * An `AbortSignal` of the caller rejects with the signal's own reason.
 */

/** Anything that the client throws on purpose. */
export class GatewayError extends Error {
  constructor(message, options) {
    super(message, options);
    this.name = new.target.name;
  }
}

/**
 * A refusal by the gateway. `field` names the field at fault, `errorId` is in the gateway's log, `retryAfter` is a
 * number of seconds.
 */
export class APIError extends GatewayError {
  static code = "error";

  constructor(message, { status, code, field, errorId, retryAfter }) {
    super(message);
    this.status = status;
    this.code = code ?? new.target.code;
    this.field = field ?? null;
    this.errorId = errorId ?? null;
    this.retryAfter = retryAfter ?? null;
  }
}

export class BadRequest extends APIError {
  static code = "bad_request";
}

export class Unauthorized extends APIError {
  static code = "unauthorized";
}

export class QuotaExceeded extends APIError {
  static code = "quota_exceeded";
}

export class Forbidden extends APIError {
  static code = "forbidden";
}

export class NotFound extends APIError {
  static code = "not_found";
}

export class SessionNotFound extends NotFound {
  static code = "session_not_found";
}

export class MethodNotAllowed extends APIError {
  static code = "method_not_allowed";
}

export class Conflict extends APIError {
  static code = "conflict";
}

export class Gone extends APIError {
  static code = "gone";
}

export class PayloadTooLarge extends APIError {
  static code = "payload_too_large";
}

export class UnsupportedMediaType extends APIError {
  static code = "unsupported_media_type";
}

export class Unprocessable extends APIError {
  static code = "unprocessable";
}

export class RateLimited extends APIError {
  static code = "rate_limited";
}

export class QueueFull extends RateLimited {
  static code = "queue_full";
}

export class InternalError extends APIError {
  static code = "internal_error";
}

export class UpstreamError extends APIError {
  static code = "upstream_error";
}

export class Unavailable extends APIError {
  static code = "unavailable";
}

/** The gateway could not be reached, or did not respond, for as long as the client may try. */
export class ConnectionFailed extends GatewayError {}

/** The caller's time-out passed first. What was asked for may still happen. */
export class WaitTimeout extends GatewayError {}

/** A run ended with `agent_abort`. `reason` is its reason, `explanation` its sentence. */
export class RunAborted extends GatewayError {
  constructor(reason, explanation) {
    super(explanation ? `${reason}: ${explanation}` : reason);
    this.reason = reason;
    this.explanation = explanation;
  }
}

/** The body, the headers and the secret of a webhook message do not belong together, or the message is too old. */
export class InvalidSignature extends GatewayError {}

const BY_STATUS = new Map([
  [400, BadRequest],
  [401, Unauthorized],
  [402, QuotaExceeded],
  [403, Forbidden],
  [404, NotFound],
  [405, MethodNotAllowed],
  [409, Conflict],
  [410, Gone],
  [413, PayloadTooLarge],
  [415, UnsupportedMediaType],
  [422, Unprocessable],
  [429, RateLimited],
  [502, UpstreamError],
  [503, Unavailable],
  [504, Unavailable],
]);

/** Every class of a refusal by its code. */
export const BY_CODE = new Map(
  [...new Set(BY_STATUS.values()), SessionNotFound, QueueFull, InternalError].map((kind) => [kind.code, kind]),
);

/**
 * Makes the error of a response. Tasks and spaces have theirs in an object. A proxy's body, which is not the gateway's,
 * is judged by its status.
 */
export function errorFromResponse(status, body, retryAfter = null) {
  const outer = isObject(body) ? body : {};
  const fields = isObject(outer.error) ? outer.error : outer;
  const code = textOrNull(isObject(outer.error) ? fields.code : outer.error);
  const Kind = BY_CODE.get(code) ?? BY_STATUS.get(status) ?? (status >= 500 ? InternalError : APIError);
  return new Kind(textOrNull(fields.message) ?? `The gateway responded with status ${status}.`, {
    status,
    code,
    field: textOrNull(fields.field),
    errorId: textOrNull(fields.errorId ?? fields.error_id),
    retryAfter,
  });
}

function isObject(value) {
  return typeof value === "object" && value !== null;
}

function textOrNull(value) {
  return typeof value === "string" ? value : null;
}
