/** Operations: the page as it was rendered, renewed every five seconds while it is looked at. */

import { renewEvery } from "../renew.js";

renewEvery(5_000);
