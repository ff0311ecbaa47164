"""What the class names and ids of elements say about what they hold.

Web designers name their boxes in English, whatever the language of the page; some German, French, Spanish and Italian
names are as common on pages in these languages. A name is split at case changes and punctuation: `postMeta`,
`post_meta` and `post-meta` are the same. `STRONG` words mark an element wherever they stand in one of its names
(`blog-comments-wrapper`); `WEAK` ones, which name other things too (`price-tags-explained`), only together with words
that say nothing (`post-tags-box`).
"""

from __future__ import annotations

import re

STRONG = {
    "comments": r"""
        comments? commentlist comment(?:form|area|box|section)s? commenting respond disqus livefyre trackbacks?
        pingbacks? pinglist kommentar\w* commentaires? comentarios? commenti reacties
    """,
    "sharing": r"""
        jssocials ssba heateor\w* sexy-?bookmarks
        social\w* sharedaddy sharing share-?(?:bar|buttons?|box|links?|icons?|tools?|this|post|list) addthis addtoany
        a2a shareaholic sociable shariff follow-?us retweet flattr vgwort
    """,
    "further": r"""
        related\w* jp-relatedposts yarpp recommend(?:ed|ations?|s) recirc\w* outbrain taboola plista ligatus trending
        suggest(?:ed|ions?)? popular-?posts? most-?(?:read|popular|viewed|shared) read-?(?:more|next) keep-?reading
        more-(?:stories|news|articles|posts|from|on) up-?next (?:next|prev(?:ious)?)-?(?:post|story|article)s?
        see-?also lire-aussi voir-aussi verwandte similaires relacionad[oa]s? teasers? teaserlist blogroll carousel
        slider slideshow flexslider ticker
    """,
    "asking": r"""
        mailchimp mc-embed\w* mailpoet akismet\w*
        newsletters? subscri(?:be|ption|bers?)\w* abonnement cookies? cookie\w+ gdpr dsgvo consent paywall
        donat(?:e|ion|ions) sign-?(?:up|in) log-?in captcha recaptcha
    """,
    "navigation": r"""
        breadcrumbs? bread-crumbs? crumbs brotkrumen? fil-?ariane paginat\w* pagers? paging page-?nav\w* navi navbar
        navigation nav-?links? (?:sub|top|main|side)-?nav (?:sub|main|top)-?menu meta-?navi? hauptnavigation sitemap
        skip-?(?:link|links|to|nav|content) toolbar (?:back-?)?to-?top link-?list masthead topbar kopfzeile
        search-?(?:form|box|bar|field|input) lang(?:uage)?-?(?:switch\w*|select\w*|chooser|nav|list)
    """,
    "sidebars": r"""
        aside sidebars? side-?bar\w* seitenleiste right-?(?:col(?:umn)?|bar|rail|side|content|block)
        col(?:umn)?-?right rechte-spalte
    """,
    "footers": r"""
        (?:entry|post|page|site|article|main|blog|user)?footer footerlinks site-?info colophon fusszeile
        pied-?(?:de-?)?page
    """,
    "advertising": r"""
        adsense adsbygoogle advert(?:s|isement|isements|ising|orial)?
        ad-?(?:box|unit|slot|space|block|container|wrapper|banner|content) sponsor(?:s|ed|ship)? promoted anzeigen?
        werbung reklame publicite publicidad
    """,
    "about": r"""
        authors? author-?(?:bio|box|info|card|about|profile|description|details|meta)s? about-?(?:the-)?authors?
        autor(?:en|in)? autor(?:en)?-?(?:box|info|profil) auteurs? redakteur by-?line date-?line postmeta\w*
        (?:entry|post|article)-?meta\w* tag-?cloud tag-?(?:list|links) cat-?links schlagworte? post-?info
        posted-?(?:on|by|in)
    """,
    "unseen": r"""
        sr-only screen-?reader(?:-?text)? visually-?hidden modal popup popover lightbox tooltip noprint mw-editsection
        editsection navbox jump-to-nav mw-jump-link hatnote printfooter toctitle visible-(?:xs|sm|print)(?:-\w+)?
        mobile-only print-only
    """,
}
WEAK = {
    "comments": "reply replies reactions? discussion",
    "sharing": """
        shar(?:e|es|er) follow teilen partage partager reseaux-sociaux compartir tweet(?:button)? facebook twitter
        pinterest whatsapp instagram feedback likes?
    """,
    "further": "popular featured mehr latest recent weiterlesen promos? promotions? promobox",
    "asking": """
        contact kontakt cart basket warenkorb wishlist account profile abo registration survey poll cta call-to-action
    """,
    "navigation": """
        archives? calendar recherche buscador prev next previous prevnext permalink shortlink tools
        toolbox actions functions nav menus? suche search toc tabs
    """,
    "sidebars": "secondary tertiary rail",
    "footers": "foot copyright impressum legal disclosure disclaimer",
    "advertising": "ads? dfp gpt banners? affiliate",
    "about": """
        meta metadata metainfo info tags? categor(?:y|ies) cats? keywords? labels? print drucken ratings? votes? voting
        timestamp time datum bio dates? credits? source
    """,
    "unseen": "hidden invisible display-none overlay dropdown",
    "widgets": "widgets? textwidget widgettitle widget-?title",
}
_NEUTRAL = r"""
    [^\W_] box boxes list container wrap wrapper area section block bar items? group row col column top bottom left
    right header footer inner outer posts? entry article page single blog js site the new small icons? links? buttons?
    btn module mod component panel view holder line title div ul region widgets? below above under after before end
    primary global mobile desktop fixed sticky float custom feed stream count counter mail email layer form dialog
    window plugins? horizontal vertical inline mini large big
"""
# States, WordPress' words about a post, and page builders: "has-sidebar" is the page, "elementor-widget" an article.
_HARMLESS = re.compile(
    "^(?:has|is|no|not|with|without|hide|show|type|status|format|tag|category|cat|single|template|page-template"
    "|elementor|wpb|vc|et|fusion|siteorigin|so|hentry|theme|lang|field-name|paragraph|menu-item|wp-block)-"
    "|^date-(?:outer|posts)$|-(?:open|closed|enabled|disabled|active|visible|none|on|label-hidden)$"
)
_CASE = re.compile("(?<=[a-z0-9])(?=[A-Z])")
_PUNCTUATION = re.compile(r"[\W_]+")
_MAX_NAME, _MAX_NAMES = 60, 40
_MAX_CACHE = 50_000


def _either(words: dict[str, str]) -> str:
    return "|".join(f"(?P<{kind}>{'|'.join(names.split())})" for kind, names in words.items())


_STRONG = re.compile(f"(?:^|-)(?:{_either(STRONG)})(?:-|$)")
_WEAK = re.compile("(?:(?:{0})-)*(?:{1})(?:-(?:{0}))*".format("|".join(_NEUTRAL.split()), _either(WEAK)))
_DIGITS = str.maketrans("", "", "0123456789")
_kinds: dict[str, str] = {}


def kind(classes: str, identifier: str) -> str:
    """What an element holds by its `class` and `id`: a key of `STRONG` or `WEAK`, or "" for what may be content."""
    return _kind_of(classes) or _kind_of(identifier)


def _kind_of(attribute: str) -> str:
    found = _kinds.get(attribute)
    if found is None:
        # Without the numbers, most attributes have been seen before.
        plain = attribute.translate(_DIGITS)
        found = _kinds.get(plain)
        if len(_kinds) >= _MAX_CACHE:
            _kinds.clear()
        if found is None:
            found = _kinds[plain] = next(filter(None, map(_kind_of_name, plain.split()[:_MAX_NAMES])), "")
        if len(attribute) <= _MAX_NAME:
            _kinds[attribute] = found
    return found


def _kind_of_name(name: str) -> str:
    plain = _PUNCTUATION.sub("-", _CASE.sub("-", name[:_MAX_NAME])).lower()
    if _HARMLESS.search(plain):
        return ""
    found = _STRONG.search(plain) or _WEAK.fullmatch(plain.strip("-"))
    return found.lastgroup or "" if found else ""
