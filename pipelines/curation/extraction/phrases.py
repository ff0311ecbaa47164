"""Headings, links and lines that are not content, in the languages most common on the web.

Sites whose class names are generated (CSS modules, utility classes) say only in words that a list is of related posts.
The phrases are whole ones, "related articles" and not "related": a paper has related work.
"""

from __future__ import annotations

import re

_THINGS = (
    "(?:posts?|articles?|stories|news|content|links?|topics?|reading|products?|items?|pages?|videos?|events?|searches)"
)
_SACHEN = (
    "(?:artikel|beiträge|blogbeiträge|themen|meldungen|nachrichten|posts|produkte|news|links|storys|videos|termine"
    "|veranstaltungen)"
)
_CHOSES = "(?:articles?|sujets?|contenus?|vidéos?|produits?|actualités?|billets?)"
_COSAS = "(?:artículos?|artigos?|noticias?|notícias?|contenidos?|entradas?|vídeos?|videos?|productos?|temas?|posts?)"

_BEGINNINGS = rf"""
(?:(?:explore|our|the|your|view|see|all|some) )?(?:related|similar|recommended|popular|trending) {_THINGS}
(?:(?:explore|our|the|your|view|see|all|some) )?(?:latest|recent|upcoming) {_THINGS}
(?:more|other|further|featured) {_THINGS}
more (?:from|in|on)
most (?:read|popular|viewed|commented|shared)
you (?:may|might) (?:also )?(?:like|enjoy|be interested in)
(?:read|watch|see) (?:next|also)
what to read next
(?:customers|people|users) (?:who|also)
don.t miss
recommended for you
\w+ recommends
(?:\d+|no|reader|user) (?:comments?|replies|responses?|thoughts)
(?:leave|post|add|write) (?:a|your) (?:reply|comment)
join the (?:discussion|conversation)
share (?:this|on|with|via)
follow (?:us|me)
about the author
written by
subscribe (?:to|for|now|by)
sign up (?:to|for|now)
stay (?:informed|up to date|connected)
filed under
posted in
(?:post|site|main|article) navigation
(?:we use|this (?:site|website) uses) cookies

(?:ähnliche|verwandte|weitere|neueste|beliebte|aktuelle|letzte|passende|meistgelesene) {_SACHEN}
mehr (?:zum thema|zu diesem thema|von|aus|zu|über)
(?:das|dies) könnte (?:sie|dich|euch)
auch interessant
(?:diese|weitere) {_SACHEN} (?:solltest|sollten|könnten|dürf)
kunden (?:kauften|haben|interessier)
mehr {_SACHEN}
lesen sie (?:auch|mehr)
(?:\d+|keine) kommentare?
(?:schreib|hinterlass)\w* (?:sie |uns )?(?:einen |ihren |deinen )?kommentar
kommentar (?:schreiben|verfassen|hinterlassen)
(?:artikel|beitrag) teilen
über (?:den autor|die autorin)
(?:diese|unsere) (?:website|webseite|seite) verwendet cookies

derni(?:ers|ères) {_CHOSES}
{_CHOSES} (?:liés|similaires|connexes|les plus lus|récents)
(?:à )?lire (?:aussi|également)
sur le même (?:sujet|thème)
\d+ commentaires?
(?:laisser|ajouter) un commentaire
à propos de l.auteur
les plus lus
vous (?:aimerez|pourriez)
(?:autres|nos|les) (?:derni(?:ers|ères) )?{_CHOSES} (?:de|du|sur|récents)

{_COSAS} relacionad[oa]s
te puede interesar
lo más (?:leído|visto)
\d+ coment[aá]rios?
deja (?:un|tu)
sobre el autor
leia (?:também|mais)

(?:articoli|notizie|post) (?:correlat[ie]|simili|recenti)
(?:leggi|potrebbe|ti potrebbe) (?:anche|interessar\w*)
\d+ commenti
gerelateerde \w+
lees ook
meer (?:over|nieuws)
\d+ reacties
zobacz także
czytaj także
читайте также
похожие \w+
"""
"""Of headings of what is not the content."""

_WHOLE = """
related|recommended|trending(?: now)?|comments?|replies|responses|cancel reply|sharing is caring|newsletter|subscribe
|sign up|tags?|topics?|categor(?:y|ies)|advertisements?|sponsored|archives?|search|log ?in
|meistgelesen|kommentare?|teilen|autor(?:in|en)?|schlagw[oö]rter|schlagworte|kategorien?|anzeige|werbung
|beitragsnavigation|commentaires?|partager|publicité|comentarios?|comentários|compartir|compartilhar|etiquetas
|publicidad|commenti|condividi|reacties|delen|komentarze|комментарии|поделиться
"""
"""Such headings as stand alone, or with a number."""

_ANNOUNCING = re.compile(rf"\W*(?:{'|'.join(filter(None, _BEGINNINGS.splitlines()))})(?:\W.{{0,40}})?", re.IGNORECASE)
_PERHAPS = re.compile(rf"\W*(?:{_WHOLE.replace(chr(10), '')})[\W\d]*", re.IGNORECASE)
_MAX_HEADING = 80


def announces(heading: str) -> bool:
    """Whether a heading announces something that is not the content of the page: "Related posts", "3 comments"."""
    return len(heading) <= _MAX_HEADING and _ANNOUNCING.fullmatch(" ".join(heading.split())) is not None


def may_announce(heading: str) -> bool:
    """Whether it does if little text follows. A manual has chapters called "Search" and "Comments" too."""
    return len(heading) <= _MAX_HEADING and _PERHAPS.fullmatch(" ".join(heading.split())) is not None


_LEADING_ON = """
more|read more|learn more|see more|view more|show more|more info|continue reading|read full article
|read the full article|read the full story|read full story|read article|top|back to top|share|tweet|reply|edit|print
|weiterlesen|weiter lesen|mehr|mehr lesen|mehr erfahren|mehr infos|mehr info|nach oben|zurück|antworten|drucken|teilen
|lire la suite|lire plus|en savoir plus|haut de page|répondre|partager|leer más|seguir leyendo|responder
|leggi tutto|leggi di più|leia mais|lees meer|lees verder|czytaj więcej|czytaj dalej
|читать далее|читать дальше|читать полностью|подробнее|続きを読む|もっと見る|阅读更多|阅读全文|更多
"""
LINKS = frozenset(_LEADING_ON.replace("\n", "").split("|"))
"""The whole text of links that lead on, without `TRIM` at the ends, in small letters."""

TRIM = " \t\r\n.…:>»›→|[]()-–+"

_LABELS = """
tags?|tagged(?: (?:as|with))?|labels?|(?:related )?topics?|keywords?|categor(?:y|ies)|filed (?:under|in)
|posted (?:in|by|on|at)|published(?: (?:in|by|on))?|(?:last )?(?:updated|modified)
|schlagw[oö]rter?|schlagworte|stichworte?|kategorien?|themen|rubrik|veröffentlicht(?: (?:in|am|von))?
|aktualisiert(?: am)?
|étiquettes?|mots[- ]clés|catégories?|publié (?:le|par|dans)|etiquetas|categorías?|publicado (?:en|por|el)
|categorie|теги|рубрика|标签|標籤|分类|タグ|カテゴリー?
"""
_DATED = r"""
(?:first |originally |last )?(?:posted|published|updated|modified)(?: (?:on|at))?
|(?:zuletzt )?(?:veröffentlicht|aktualisiert|erstellt|geändert)(?: am)?
|(?:publié|mis à jour|modifié)e?(?: le)?|(?:publicado|actualizado)(?: el)?|pubblicato(?: il)?
|gepubliceerd(?: op)?|opublikowan[oy]|опубликовано
"""
_COUNTED = r"""
comments?|replies|responses?|reactions?|shares?|likes?|views?|kommentare?|antworten|reaktionen|commentaires?|réactions?
|comentarios?|commenti|reacties|komentarz\w*|комментари\w+
"""
_REQUESTS = """
share|tweet|pin|like|print|e-?mail|follow|subscribe|facebook|twitter|pinterest|whatsapp|teilen|drucken|merken|partager
|imprimer|compartir|condividi|delen|udostępnij|поделиться
"""
_OBJECTS = """
this|it|on|via|us|page|article|story|post|now|facebook|twitter|pinterest|whatsapp|e-?mail|instagram|linkedin
|auf|mit|bei|per|uns|artikel|beitrag|seite|sur|par|cet|en|con|este|questo|op|dit
"""
_SENTENCES = r"""
(?:read or )?share this (?:story|article|post|page).*
|(?:follow|like|find) (?:us|me|him|her|them) on .*|folge[nt]?(?: sie)? (?:uns|mir) (?:auf|bei) .*
|(?:suivez|retrouvez)[- ]nous sur .*|síguenos en .*
|(?:comments?|kommentare?|kommentarfunktion|commentaires?)(?: (?:are|is|sind|ist|sont))? (?:closed|off|geschlossen
|deaktiviert|fermés).*
|no comments(?: yet)?\W*|keine kommentare\W*|be the first to comment.*|(?:leave|post) a (?:reply|comment).*
|subscribe to: .*|back to (?:overview|the .{1,30}|top)|«? ?zurück(?: zu[rm]? .{1,30})?|nach oben
|(?:next|previous) (?:article|post|story|page)|read (?:more|next|also)\W*|weiterlesen\W*|mehr (?:lesen|erfahren)\W*
|lire la suite\W*|leer más\W*|advertisements?\W*|anzeige|werbung|publicité|publicidad|sponsored(?: content)?
|(?:©|\(c\)|copyright\b).*|(?:proudly )?powered by .*|read (?:the )?(?:full|whole|entire|rest).{0,25}
|posted by .{1,40} (?:at|on) .*|view my complete profile|(?:show|view|see|load|hide) (?:all |more )?(?:comments|replies)
|(?:foto|photo|bild|image|picture)s?(?: ?(?:credits?|by|von|quelle|nachweis))?\s?[:：].*
|(?:photo|image)s? (?:by|credit) .*|(?:bildquelle|bildnachweis|fotocredit|crédits? photo|crédits?)\s?[:：].*
|(?:teilen|share|partage\w*|comparte|condividi)(?: sie)? (?:diese[nrs]?|this|cet|este|esta|questo|l) ?.{0,20}
"""
_LINE = re.compile(
    (
        rf"(?:•\s*)?(?:(?:{_LABELS})\s*[:：].*|(?:{_DATED}).{{0,25}}\b(?:19|20)\d\d\b.{{0,25}}"
        rf"|\d[\d.,]*\s*(?:{_COUNTED})"
        rf"|(?:{_REQUESTS})(?: (?:{_OBJECTS}))*\W*|{_SENTENCES})"
    ).replace("\n", "")
)
"""Of lines in small letters: it is asked of every short line, and ignoring case takes twice the time."""
_RIGHTS = (
    "all rights reserved",
    "alle rechte vorbehalten",
    "tous droits réservés",
    "todos los derechos",
    "tutti i diritti",
)
_MAX_LINE = 100
_FORM = r"""
(?:your|deine|ihre) e-?mail(?:-?adresse)? (?:address )?(?:will not|won.t|wird nicht).*
|.{0,80}(?:required fields|erforderliche felder|pflichtfelder|champs (?:obligatoires|requis)|campos obligatorios
|campi obbligatori|verplichte velden).*
|(?:votre|tu|su|il tuo) (?:adresse|dirección|indirizzo).{0,60}(?:ne sera pas|no será|non sarà).*
|save my name.*|meinen? namen.{0,60}(?:speichern|browser).*|enregistrer mon nom.*
|(?:this|diese|ce|este|questo).{0,12}(?:site|website).{0,30}akismet.*
|(?:you must be|please|bitte|sie müssen|du musst).{0,30}(?:logged in|log ?in|sign ?in|register|angemeldet|anmelden
|melden).{0,60}(?:comment|komment|post|reply).*
|(?:notify me of|benachrichtig\w+ mich|prévenez-moi|avvertimi|notificarme).*
"""
_IS_FORM = re.compile(rf"[*\s]*(?:{_FORM.replace(chr(10), '')})")
_COOKIES = re.compile(
    r"\b(?:we use|uses?|using|agree|accept|consent|browser|policy|privacy|settings?|verwende\w*|nutz\w+|einsatz|setz\w+"
    r"|utilis\w+|utiliz\w*|usa(?:mos|ndo)?|gebruik\w*|använder|bruker|używa\w*|stosuj\w+|использу\w+"
    r"|(?:web)?(?:site|seite)s?)\b",
    re.IGNORECASE,
)
_NEWSLETTER = re.compile(
    r"\b(?:subscribe|sign ?up|signing up|inbox|get our|join our|abonn\w+|anmeld\w+|inscri\w+|iscriv\w+|suscr\w+"
    r"|schrijf)\b",
    re.IGNORECASE,
)
_MAX_NOTICE = 350
"""A line up to this long that asks for something is taken as a whole."""
_MAX_NOTICES = 4
"""A page with more words on cookies, or newsletters, is about them."""
_BYLINE = re.compile(
    r"(?i:by|von|par|por|di|door|av|от|text|autor|author|words)(?i: redaktion)?[:\s]+"
    r"[A-ZÀ-ÞĀ-ŽА-Я][\w.’'-]+(?:(?:,? (?:and|und|et|y|e|en|&|von|van|de|der))? [A-ZÀ-ÞĀ-ŽА-Я][\w.’'-]*){0,5}"
)
_FIRST_LINES = 8
"""A byline stands near the beginning, and is not the first line."""
_SEPARATED = re.compile(r"\s*[|·•]\s*")


def without_captions(text: str) -> str:
    """A text without the short lines that belong to the page and not to its text: "Tags: a, b", "71 comments"."""
    lines = text.split("\n")
    kept = [line for line in lines if len(line) > _MAX_LINE or not line or not _is_caption(line.strip().lower())]
    for place, line in enumerate(kept[:_FIRST_LINES]):
        if place and len(line) < _MAX_LINE and _BYLINE.fullmatch(line.strip()):
            del kept[place]
            break
    small = text.lower()
    for phrase in _RIGHTS:
        if phrase in small:
            kept = [line for line in kept if len(line) > _MAX_LINE or phrase not in line.lower()]
    for word, request in (("cookie", _COOKIES), ("newsletter", _NEWSLETTER)):
        if 0 < small.count(word) <= _MAX_NOTICES:
            kept = [
                line for line in kept if len(line) > _MAX_NOTICE or word not in line.lower() or not request.search(line)
            ]
    return "\n".join(kept)


def _is_caption(line: str) -> bool:
    """Whether a line, in small letters, is one."""
    if _LINE.fullmatch(line) or _IS_FORM.fullmatch(line):
        return True
    parts = _SEPARATED.split(line) if "|" in line or "·" in line else ()
    return any(part and _LINE.fullmatch(part) for part in parts)
