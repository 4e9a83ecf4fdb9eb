/** The words of scripts in Chinese, by their English texts. */

export default {};
