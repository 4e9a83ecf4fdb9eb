/** The implementation beside its declarations: the same members, which accept the arguments that are declared. */

import type * as declared from "../../index.js";
import type { Gateway } from "../../src/client.js";
import type { EventStream } from "../../src/event_stream.js";
import type { Session, Sessions } from "../../src/sessions.js";
import type { Spaces } from "../../src/spaces.js";
import type { Tasks } from "../../src/tasks.js";

type Arguments<Type> = {
  [Name in keyof Type]: Type[Name] extends (...list: infer List) => unknown ? (...list: List) => unknown : unknown;
};
type Same<One, Other> = [keyof One] extends [keyof Other] ? ([keyof Other] extends [keyof One] ? true : false) : false;

declare function accepts<Declared>(implementation: Arguments<Declared>): void;
declare function same<_One, _Other>(same: Same<_One, _Other>): void;
declare const implementation: {
  gateway: Gateway;
  stream: EventStream;
  session: Session;
  sessions: Sessions;
  spaces: Spaces;
  tasks: Tasks;
};

accepts<declared.Gateway>(implementation.gateway);
accepts<declared.EventStream>(implementation.stream);
accepts<declared.Session>(implementation.session);
accepts<declared.Sessions>(implementation.sessions);
accepts<declared.Spaces>(implementation.spaces);
accepts<declared.Tasks>(implementation.tasks);
same<declared.Gateway, Gateway>(true);
same<declared.EventStream, EventStream>(true);
same<declared.Session, Session>(true);
same<declared.Sessions, Sessions>(true);
same<declared.Spaces, Spaces>(true);
same<declared.Tasks, Tasks>(true);
