/** The words of scripts in Chinese, by their English texts. */

import work from "./zh-hans-work.js";

export default { ...work };
