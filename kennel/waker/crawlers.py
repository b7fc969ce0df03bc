"""Who visits without a person waiting: they do not wake anybody.

Tools of people who work on what they visit are not among them: curl, headless browsers, Lighthouse.
"""

import re

SEARCH = (
    r"apis-google|baidu|bingpreview|coccoc|daum(?:oa)?/|exabot|feedfetcher|google favicon"
    r"|google-(?:adwords|cloudvertex|extended|inspection|pagerenderer|read|safety|site-veri)"
    r"|googleother|ia_archiver|mediapartners-google|naver|nutch|qwant|slurp|sogou|teoma|yacy|yeti/"
    r"|heritrix|archive\.org|wayback|httrack|commoncrawl"
)
SEO = (
    r"ahrefs|barkrowler|brightedge|dataforseo|deepcrawl|linkdex|lumar|majestic|moz\.com|netpeak"
    r"|screaming frog|seokicks|semrush|serpstat|seranking|siteimprove|sistrix|sitechecker"
)
LINK_PREVIEWS = (
    r"akkoma|bluesky|embedly|facebookcatalog|facebookexternalhit|friendica|iframely|lemmy|mastodon"
    r"|misskey|mattermost|opengraph|pleroma|rocket\.chat|skypeuripreview|slack-imgproxy|snap url"
    r"|vkshare|whatsapp|wordpress\.com mshots|zulip"
)
MONITORS = (
    r"amazon-route53-health|appinsights|better ?(?:stack|uptime)|blackbox|check_http|checkly"
    r"|cloudflare-(?:healthchecks|traffic-manager)|consul health|cron-?job|datadog|dynatrace"
    r"|elb-healthchecker|freshping|gatus|googlehc|googlestackdriver|healthcheck|hetrixtools|hyperping"
    r"|jetmon|kube-probe|montastic|nagios|newrelic|node ?ping|ohdear|pagerduty|pingdom|prometheus"
    r"|site24x7|statping|statuscake|updown\.io|uptime|zabbix"
)
AI = (
    r"ai2-?bot|anthropic|bytespider|chatgpt|claude-(?:user|web|search)|cohere|diffbot|duckassist"
    r"|firecrawl|gemini-deep-research|imagesift|meta-external|mistralai|oai-searchbot|omgili"
    r"|perplexity|timpi|webzio"
)
SCANNERS = (
    r"binaryedge|censys|expanse|internet-?measurement|internettl|l9explore|l9tcpid|leakix|masscan"
    r"|netcraft|nikto|nmap|nuclei|onyphe|palo ?alto|projectdiscovery|shodan|sqlmap|wpscan|zgrab"
)
READERS = r"feedbin|feedburner|feedly|freshrss|inoreader|miniflux|newsblur|tiny tiny rss"
BY_ANY_NAME = (
    # Not a telephone called CUBOT; not "Robotics". Many give an address with "/bot" in it.
    r"(?<!cu)bots?(?![a-z])|crawl(?:er|ing)?(?![a-z])|spiders?(?![a-z])|scrap(?:er|y|ing)(?![a-z])"
    r"|\bcolly\b|fetcher(?![a-z])|archiver(?![a-z])|link ?check|validator|monitor(?:ing)?(?![a-z])"
)
CRAWLER = re.compile(
    f"{SEARCH}|{SEO}|{LINK_PREVIEWS}|{MONITORS}|{AI}|{SCANNERS}|{READERS}|{BY_ANY_NAME}",
    re.IGNORECASE,
)


def is_crawler(user_agent: str) -> bool:
    """Return whether a User-Agent names one that visits by itself."""
    return CRAWLER.search(user_agent) is not None
