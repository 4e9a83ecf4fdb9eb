/** Usage: the page as it was rendered, renewed every half minute while it is looked at. */

import { renewEvery } from "../renew.js";

renewEvery(30_000);
